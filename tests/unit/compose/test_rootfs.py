"""What is made of packages: the merge, what is left out, names, certificates, database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, X86_64, Arch
from edgeimg.compose import certificates, dpkg, dpkg_root, identity, ldcache, prune
from edgeimg.errors import ArchiveError
from edgeimg.recipe.model import Recipe
from edgeimg.tree import Kind, Tree, file, symlink
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.samples import elf, make_deb


def test_packages_land_in_the_merged_usr(tmp_path: Path) -> None:
    one = make_deb(tmp_path, {"bin/sh": b"sh", "lib/x": b"x"}, name="one")
    two = make_deb(tmp_path, {"usr/bin/tool": b"t", "sbin/init": b"i"}, name="two")
    tree = dpkg_root.merge([one, two])
    assert {"usr/bin/sh", "usr/lib/x", "usr/bin/tool", "usr/sbin/init"} <= dict(tree.items()).keys()
    assert {path: tree[path].target for path in ("bin", "lib", "sbin")} == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "sbin": "usr/sbin",
    }
    assert tree["tmp"].mode == 0o1777
    assert "lib32" not in tree
    assert "usr/lib32" not in tree


def test_the_order_of_packages_does_not_matter(tmp_path: Path) -> None:
    debs = [
        make_deb(tmp_path, {f"usr/{name}": b"x", "usr/same": b"y"}, name=name)
        for name in ("aa", "bb", "cc")
    ]
    assert dpkg_root.merge(debs).digest() == dpkg_root.merge(debs[::-1]).digest()


def test_a_conflict_is_an_error_that_names_both(tmp_path: Path) -> None:
    one = make_deb(tmp_path, {"usr/bin/x": b"1"}, name="one")
    two = make_deb(tmp_path, {"bin/x": b"2"}, name="two")
    with pytest.raises(ArchiveError, match=r"/usr/bin/x is in both one 1\.0 and two 1\.0"):
        dpkg_root.merge([one, two])


@pytest.mark.parametrize("winner", ["one", "two"])
def test_replaces_settles_a_conflict(tmp_path: Path, winner: str) -> None:
    loser = "two" if winner == "one" else "one"
    replaces = f"Replaces: other (<< 2), {loser} (<< 5~)\n"
    debs = [
        make_deb(tmp_path, {"usr/x": winner.encode()}, name=winner, control=replaces),
        make_deb(tmp_path, {"usr/x": loser.encode()}, name=loser),
    ]
    assert dpkg_root.merge(debs)["usr/x"].read() == winner.encode()


def test_prune_keeps_copyright_files() -> None:
    paths = (
        "usr/share/doc/x/copyright",
        "usr/share/doc/x/changelog.gz",
        "usr/share/doc/x/examples/copyright.sh",
        "usr/share/man/man1/x.1.gz",
        "usr/share/mana",
        "usr/lib/x86_64-linux-gnu/libx.a",
        "usr/lib/x86_64-linux-gnu/libx.so",
    )
    tree = prune.prune(Tree().with_nodes({path: file(b"x") for path in paths}))
    assert [path for path, node in tree.items() if node.kind is Kind.FILE] == [
        "usr/lib/x86_64-linux-gnu/libx.so",
        "usr/share/doc/x/copyright",
        "usr/share/mana",
    ]


def test_recipes_prune_more() -> None:
    tree = Tree().with_nodes({"usr/bin/a": file(b""), "usr/bin/b": file(b""), "opt/x/y": file(b"")})
    left = prune.prune(tree, ["/usr/bin/a", "opt"])
    assert [path for path, _ in left.items()] == ["usr", "usr/bin", "usr/bin/b"]


def test_recipes_keep_what_the_list_would_drop() -> None:
    kept, gone = "usr/share/man/man8/x.8.gz", "usr/share/man/man1/y.1.gz"
    tree = Tree().with_nodes({path: file(b"") for path in (kept, gone, "usr/include/a/b.h")})
    left = prune.prune(tree, ["!usr/share/man/man8", "!/usr/include"])
    assert kept in left
    assert gone not in left
    assert "usr/include/a/b.h" in left


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_identity(arch: Arch) -> None:
    recipe = Recipe.model_validate(
        {
            "image": {"id": "gw", "version": "2.1", "hostname": "edge"},
            "k3s": {"config": {"disable": ["x"], "a": 1}},
        }
    )
    release = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
    base = Tree().with_nodes({"usr/lib/os-release": file(release.encode())})
    tree = identity.add_identity(base, recipe, arch)
    fields = dict(line.split("=", 1) for line in tree.read("etc/os-release").decode().splitlines())
    assert fields["ID"] == "debian"
    assert fields["VERSION_ID"] == '"13"'
    assert (fields["IMAGE_ID"], fields["IMAGE_VERSION"]) == ("gw", '"2.1"')
    assert fields["PRETTY_NAME"] == '"gw 2.1 (Debian)"'
    assert fields["ARCHITECTURE"] == arch.name
    assert tree.read("etc/hostname") == b"edge\n"
    assert tree.read("etc/machine-id") == b""
    assert json.loads(tree.read("etc/rancher/k3s/config.yaml")) == {"a": 1, "disable": ["x"]}
    assert tree["etc/rancher/k3s/config.yaml"].mode == 0o600


def test_overlays_win_over_the_identity() -> None:
    base = Tree().with_nodes({"etc/hosts": file(b"mine\n")})
    assert identity.add_identity(base, Recipe(), X86_64).read("etc/hosts") == b"mine\n"


def test_certificates_become_one_bundle() -> None:
    nodes = {
        "usr/share/ca-certificates/mozilla/B.crt": file(b"B\n\n"),
        "usr/share/ca-certificates/mozilla/A.crt": file(b"A"),
        "usr/local/share/ca-certificates/own.crt": file(b"own\n"),
        "usr/local/share/ca-certificates/README": file(b"no"),
    }
    tree = certificates.bundle_certificates(Tree().with_nodes(nodes))
    assert tree.read("etc/ssl/certs/ca-certificates.crt") == b"A\nB\nown\n"
    assert "usr/share/ca-certificates/mozilla/A.crt" not in tree
    assert certificates.bundle_certificates(Tree()).items() == []


def test_the_package_database_is_where_scanners_look() -> None:
    control = (
        "Package: x\nVersion: 1:2-3\nArchitecture: amd64\nSuggests: y,\n z\nDescription: d\n more\n"
    )
    tree = dpkg.add_database(Tree(), [control, "Package: a\nVersion: 1\n"])
    text = tree.read("var/lib/dpkg/status").decode()
    assert text == tree.read("usr/lib/dpkg-db/status").decode()
    assert text.split("\n\n") == [
        "Package: a\nStatus: install ok installed\nVersion: 1",
        "Package: x\nStatus: install ok installed\nVersion: 1:2-3\nArchitecture: amd64\n"
        "Description: d\n more\n",
    ]


def test_library_links_are_made_as_ldconfig_does() -> None:
    lib = f"usr/lib/{X86_64.triplet}"
    nodes = {
        f"{lib}/libx.so.1.9": file(elf(X86_64, soname="libx.so.1")),
        f"{lib}/libx.so.1.10": file(elf(X86_64, soname="libx.so.1")),
        f"{lib}/libforeign.so.1": file(elf(ARM, soname="libforeign.so.1")),
        f"{lib}/libscript.so": file(b"/* GNU ld script */" * 10),
        "lib": symlink("usr/lib"),
    }
    tree = ldcache.add_cache(Tree().with_nodes(nodes), X86_64)
    assert tree[f"{lib}/libx.so.1"].target == "libx.so.1.10"
    cache = tree.read("etc/ld.so.cache")
    assert cache.startswith(b"glibc-ld.so.cache1.1")
    assert b"/lib/x86_64-linux-gnu/libx.so.1\0" in cache
    assert b"libforeign" not in cache


def compare(one: str, other: str) -> int:
    """glibc's `_dl_cache_libcmp`, told step by step."""
    i = j = 0
    while i < len(one):
        digits = [k < len(s) and s[k].isdigit() for s, k in ((one, i), (other, j))]
        if digits[0] and digits[1]:
            numbers = []
            for text, start in ((one, i), (other, j)):
                end = start
                while end < len(text) and text[end].isdigit():
                    end += 1
                numbers.append((int(text[start:end]), end))
            if numbers[0][0] != numbers[1][0]:
                return numbers[0][0] - numbers[1][0]
            i, j = numbers[0][1], numbers[1][1]
        elif digits[0] or digits[1]:
            return 1 if digits[0] else -1
        else:
            left, right = ord(one[i]), ord(other[j]) if j < len(other) else 0
            if left != right:
                return left - right
            i, j = i + 1, j + 1
    return -1 if j < len(other) else 0


NAMES = st.text(alphabet="ab.-_019", min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(NAMES, NAMES)
def test_sonames_sort_as_the_loader_searches(one: str, other: str) -> None:
    left, right = ldcache.sort_key(one), ldcache.sort_key(other)
    result = compare(one, other)
    assert (left > right) - (left < right) == (result > 0) - (result < 0)
