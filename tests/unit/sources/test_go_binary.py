"""What a Go program says of itself."""

from __future__ import annotations

from edgeimg.sources import go_binary

from tests.fake_k3s import build_info

TEXT = """\
path\tgithub.com/k3s-io/k3s/cmd/server
mod\tgithub.com/k3s-io/k3s\t(devel)\t
dep\tgithub.com/a/b\tv1.0.0\th1:x=
dep\tk8s.io/kubernetes\tv1.35.0
=>\tgithub.com/k3s-io/kubernetes\tv1.35.0-k3s1\th1:y=
dep\tlast\tv9
build\t-compiler=gc
build\t-ldflags="-X 'a.Version=v1' -s"
"""


def test_modules_replacements_and_flags() -> None:
    build = go_binary.read(b"\x7fELF...." + build_info(TEXT))
    assert build is not None
    assert (build.go, build.module) == ("go1.25.4", "github.com/k3s-io/k3s")
    assert build.dependency("github.com/a/b") == ("github.com/a/b", "v1.0.0")
    replaced = ("github.com/k3s-io/kubernetes", "v1.35.0-k3s1")
    assert build.dependency("k8s.io/kubernetes") == replaced
    assert build.dependency("last") == ("last", "v9")
    assert build.dependency("k8s.io") is None
    assert build.linker_flags == "\"-X 'a.Version=v1' -s\""


def test_only_the_given_part_counts() -> None:
    block = build_info(TEXT)
    data = block + bytes(100)
    assert go_binary.read(data, 1) is None
    assert go_binary.read(data, 0, len(block)) == go_binary.read(block)


def test_what_only_looks_like_it_is_skipped() -> None:
    decoy = b"\xff Go buildinf:\x08\x02" + bytes(20)
    found = go_binary.read(decoy + build_info(TEXT))
    assert found is not None
    assert found.go == "go1.25.4"


def test_nothing_and_damage() -> None:
    block = build_info(TEXT)
    assert go_binary.read(b"") is None
    assert go_binary.read(b"\xff Go buildinf:") is None
    for end in range(len(block)):
        cut = go_binary.read(block, 0, end)
        assert cut is None or cut.text == "", "half a block tells no modules"
