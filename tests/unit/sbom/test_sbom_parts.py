"""Where components come from: control files, Go programs, container images."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import zstandard
from edgeimg.arch import ARM, ARM64, X86_64
from edgeimg.errors import ArchiveError
from edgeimg.recipe import image_name
from edgeimg.sbom import containers, debian, gomod, purl
from edgeimg.sbom.gomod import Module
from edgeimg.sbom.model import Distribution, Source
from edgeimg.sources import oci
from edgeimg.sources.oci import ImageConfig
from edgeimg.tree import Span, Tree, file

from tests.fake_k3s import build_info, elf
from tests.samples import member, module, tar

TRIXIE = Distribution(id="debian", version="13", codename="trixie")
GO = """\
path\tgithub.com/k3s-io/k3s/cmd/server
mod\tgithub.com/k3s-io/k3s\t(devel)\t
dep\tgithub.com/Masterminds/semver/v3\tv3.2.0\th1:x=
dep\tk8s.io/kubernetes\tv1.35.0
=>\tgithub.com/k3s-io/kubernetes\tv1.35.0-k3s1\th1:y=
dep\texample.org/vendored\tv1.0.0
=>\t./vendored\t(devel)\t
build\t-compiler=gc
"""


def control(**fields: str) -> dict[str, str]:
    return {"Package": "x", "Version": "1.0-1", "Architecture": "amd64"} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (control(), Source(name="x", version="1.0-1")),
        (control(Source="yy"), Source(name="yy", version="1.0-1")),
        (control(Source="yy (2:0.9-3)", Version="1.0-1+b2"), Source(name="yy", version="2:0.9-3")),
        (
            control(Source="linux-signed-amd64 (6.12.117+1)", Built_Using="linux (= 6.12.117-1)"),
            Source(name="linux", version="6.12.117-1"),
        ),
        (control(Source="linux-signed-arm64 (6.12.1+2)"), Source(name="linux", version="6.12.1-2")),
    ],
)
def test_sources_are_those_that_advisories_speak_of(
    fields: dict[str, str], expected: Source
) -> None:
    assert debian.source_of(fields) == expected


def test_what_was_linked_statically_is_told() -> None:
    fields = control(
        Built_Using="glibc (= 2.41-12), x (= 1.0-1)", Static_Built_Using="musl (= 1.2.5-1)"
    )
    told = debian.built_using(fields)
    assert told == (Source(name="glibc", version="2.41-12"), Source(name="musl", version="1.2.5-1"))


def test_dependencies_are_the_packages_that_are_there() -> None:
    fields = control(
        Depends="libc6 (>= 2.38), default-logger | mylogger, absent, awk:any",
        Pre_Depends="init (>= 1)",
    )
    present = {name: f"ref:{name}" for name in ("libc6", "mylogger", "awk", "init", "unrelated")}
    found = debian.depends(fields, present)
    assert found == {"ref:libc6", "ref:mylogger", "ref:awk", "ref:init"}
    assert debian.provides(control(Provides="awk, zz (= 3)")) == ["x", "awk", "zz"]


def test_package_urls_name_the_source_where_it_differs() -> None:
    source = Source(name="util-linux", version="2.41-1")
    url = purl.debian("libblkid1", "1:2.41-1+b1", arch="arm64", distribution=TRIXIE, source=source)
    parsed = purl.parse(url)
    assert parsed is not None
    assert (parsed.type, parsed.namespace, parsed.name) == ("deb", "debian", "libblkid1")
    assert parsed.version == "1:2.41-1+b1"
    assert dict(parsed.qualifiers) == {
        "arch": "arm64",
        "distro": "debian-13",
        "upstream": "util-linux@2.41-1",
    }
    same = Source(name="x", version="1")
    assert "upstream" not in purl.debian("x", "1", arch="all", distribution=TRIXIE, source=same)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("localhost/edgeimg/pause:1", ("localhost/edgeimg/pause", "1")),
        ("registry.example:5000/app", ("registry.example:5000/app", "")),
        ("registry.example:5000/app:v2@sha256:00", ("registry.example:5000/app", "v2")),
        ("busybox", ("busybox", "")),
    ],
)
def test_image_names_are_taken_apart(reference: str, expected: tuple[str, str]) -> None:
    assert image_name.split(reference)[:2] == expected


@pytest.mark.parametrize("arch", [X86_64, ARM])
def test_go_programs_tell_their_modules(tmp_path: Path, arch: object) -> None:
    program = elf(arch, build_info(GO, go="go1.26.2 X:nodwarf5"))  # type: ignore[arg-type]
    archive = tmp_path / "data"
    archive.write_bytes(b"before" + program + b"after")
    nodes = {
        "usr/bin/server": file(Span(archive, 6, len(program))),
        "usr/bin/copy": file(program),
        "usr/lib/text": file(build_info(GO)),
        "usr/lib/x.ko": file(module(ARM64, {}) + build_info(GO)),
        "usr/lib/object": file(module(ARM64, {}) + build_info(GO)),
    }
    found = dict(gomod.find(Tree().with_nodes(nodes)))
    assert sorted(found) == ["usr/bin/copy", "usr/bin/server"]
    told = found["usr/bin/server"]
    assert told == found["usr/bin/copy"]
    assert (told.path, told.go) == ("github.com/k3s-io/k3s/cmd/server", "1.26.2")
    assert told.main == Module(path="github.com/k3s-io/k3s", version="")
    assert told.modules == (
        Module(path="example.org/vendored", version=""),
        Module(path="github.com/Masterminds/semver/v3", version="v3.2.0"),
        Module(
            path="github.com/k3s-io/kubernetes",
            version="v1.35.0-k3s1",
            replaces="k8s.io/kubernetes",
        ),
    )


def test_a_span_ends_where_it_ends(tmp_path: Path) -> None:
    """The program after this one in the archive must not be taken for it."""
    first, second = elf(X86_64, b"plain"), elf(X86_64, build_info(GO))
    archive = tmp_path / "data"
    archive.write_bytes(first + second)
    assert gomod.read(Span(archive, 0, len(first))) is None
    assert gomod.read(Span(archive, len(first), len(second))) is not None


def test_a_composed_image_is_read_back() -> None:
    tree = Tree().with_nodes({"bin/app": file(b"app")})
    labels = (("org.opencontainers.image.version", "2.1"), ("other", "x"))
    config = ImageConfig(entrypoint=("/bin/app",), labels=labels)
    made = oci.ContainerImage(name="localhost/app:2", tree=tree, run=config.to_json())
    archive = oci.archive([made], ARM64, 1_700_000_000).data
    (image,) = containers.read(archive, ARM64, "app.tar")
    assert image.name == "localhost/app:2"
    assert image.files == {"bin/app": b"app"}
    assert image.labels == {"version": "2.1"}
    manifests = json.loads(_member(archive, "index.json"))["manifests"]
    assert image.digest == manifests[0]["digest"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_saved_images_and_their_packages(pack: object) -> None:
    status = (
        "Package: libc6\nStatus: install ok installed\nVersion: 2.41-1\nArchitecture: arm64\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    lower = tar([member("var/lib/dpkg/status", status.encode()), member("a/old", b"1")])
    upper = tar([member("a/.wh.old"), member("./a/new", b"2")])
    config = json.dumps({"config": {"Labels": None}, **_rootfs(lower, upper)}).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["1.tar", "2.tar"]}]
    archive = tar(
        [
            member("manifest.json", json.dumps(manifest).encode()),
            member("c.json", config),
            member("1.tar", pack(lower)),  # type: ignore[operator]
            member("2.tar", pack(upper)),  # type: ignore[operator]
        ]
    )
    (image,) = containers.read(archive, ARM64, "app.tar")
    assert (image.name, image.digest) == ("app:1", f"sha256:{hashlib.sha256(config).hexdigest()}")
    assert sorted(image.files) == ["a/new", "var/lib/dpkg/status"]
    assert [fields["Package"] for fields in image.packages()] == ["libc6"]


@pytest.mark.parametrize(
    "archive",
    [
        b"no tar",
        tar([member("index.json", b"{}")]),
        tar([member("index.json", b'{"manifests": [{"digest": "sha256:00"}]}')]),
        tar([member("manifest.json", b"[1]")]),
        tar([member("other", b"")]),
    ],
)
def test_what_is_no_image_is_an_error_that_names_it(archive: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"app\.tar is no container image"):
        containers.read(archive, ARM64, "app.tar")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_damaged_layers_are_errors(pack: object) -> None:
    plain = tar([member("a", bytes(5000))])
    layer = bytearray(pack(plain))  # type: ignore[operator]
    manifest = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["1.tar"]}]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "c.json": json.dumps(_rootfs(plain)).encode(),
    }
    (image,) = containers.read(
        tar([*(member(n, d) for n, d in files.items()), member("1.tar", bytes(layer))]),
        ARM64,
        "app.tar",
    )
    assert image.files == {"a": bytes(5000)}
    for broken in (layer[:-5], layer[:10] + b"\xff\xff" + layer[12:]):
        members = [member(name, data) for name, data in files.items()]
        with pytest.raises(ArchiveError, match=r"app\.tar"):
            containers.read(tar([*members, member("1.tar", bytes(broken))]), ARM64, "app.tar")


def _rootfs(*layers: bytes) -> dict[str, object]:
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    return {"architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": digests}}


def _member(archive: bytes, name: str) -> bytes:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(archive)) as tarred:
        stream = tarred.extractfile(f"./{name}" if f"./{name}" in tarred.getnames() else name)
        assert stream is not None
        return stream.read()
