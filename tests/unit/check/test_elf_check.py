"""Planted defects: wrong architecture, missing interpreter, missing library, soft float."""

from __future__ import annotations

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64, Arch
from edgeimg.check import elf as check
from edgeimg.check.findings import errors
from edgeimg.compose import elf_facts
from edgeimg.errors import ArchiveError
from edgeimg.tree import Node, Tree, file, symlink

from tests.samples import elf, module


def sound(arch: Arch) -> dict[str, Node]:
    """A loader, a C library, and a program that uses both."""
    lib = f"usr/lib/{arch.triplet}"
    loader = arch.loader.rpartition("/")[2]
    place = arch.loader.strip("/").partition("/")[0]
    nodes = {
        f"{lib}/{loader}": file(elf(arch, soname=loader)),
        f"{lib}/libc.so.6": file(elf(arch, soname="libc.so.6", needed=[loader])),
        "usr/bin/tool": file(elf(arch, interpreter=arch.loader, needed=["libc.so.6"])),
        "lib": symlink("usr/lib"),
        f"usr/{place}/{loader}": symlink(f"../lib/{arch.triplet}/{loader}"),
    }
    if place != "lib":
        nodes[place] = symlink(f"usr/{place}")
    return nodes


def found(arch: Arch, **files: Node) -> list[str]:
    extra = {path.replace("__", "/"): node for path, node in files.items()}
    return [str(finding) for finding in check.check(Tree().with_nodes(sound(arch) | extra), arch)]


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_a_sound_tree_has_no_findings(arch: Arch) -> None:
    assert found(arch, etc__hosts=file(b"x" * 100), usr__bin__sh=file(b"#!/bin/sh\n")) == []


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_a_program_of_another_architecture(arch: Arch) -> None:
    other = ARM64 if arch is not ARM64 else X86_64
    (finding,) = found(arch, usr__bin__foreign=file(elf(other, dynamic=False)))
    assert "usr/bin/foreign" in finding
    assert other.elf_machine.removeprefix("EM_") in finding
    assert f"use the build for {arch.name}" in finding


def test_a_missing_interpreter() -> None:
    (finding,) = found(X86_64, usr__bin__musl=file(elf(X86_64, interpreter="/lib/ld-musl.so.1")))
    assert "its interpreter /lib/ld-musl.so.1 is not in the image" in finding


def test_a_missing_library() -> None:
    needy = elf(X86_64, interpreter=X86_64.loader, needed=["libc.so.6", "libgone.so.2"])
    (finding,) = found(X86_64, usr__bin__needy=file(needy))
    assert "needs libgone.so.2, which is not in the image" in finding


def test_a_dangling_library_is_a_missing_one() -> None:
    needy = elf(X86_64, interpreter=X86_64.loader, needed=["libx.so.1"])
    (finding,) = found(X86_64, usr__bin__needy=file(needy), usr__lib__libx=symlink("nowhere"))
    assert "needs libx.so.1" in finding
    dangling = {
        "usr/lib/x86_64-linux-gnu/libx.so.1": symlink("libx.so.1.2"),
        "usr/bin/needy": file(needy),
    }
    tree = Tree().with_nodes(sound(X86_64) | dangling)
    assert [finding.path for finding in check.check(tree, X86_64)] == ["usr/bin/needy"]


@pytest.mark.parametrize(
    "runpath", ["$ORIGIN/../lib/tool", "${ORIGIN}/../lib/tool", "/usr/lib/tool"]
)
def test_a_library_on_the_run_path(runpath: str) -> None:
    tool = elf(X86_64, interpreter=X86_64.loader, needed=["libtool.so"], runpath=runpath)
    library = elf(X86_64, soname="libtool.so")
    assert not found(
        X86_64, usr__bin__t=file(tool), **{"usr__lib__tool__libtool.so": file(library)}
    )
    assert found(X86_64, usr__bin__t=file(tool))


def test_a_library_of_a_configured_directory() -> None:
    tool = elf(X86_64, interpreter=X86_64.loader, needed=["libtool.so"])
    nodes = {
        "usr/bin/t": file(tool),
        "opt/tool/libtool.so": file(elf(X86_64, soname="libtool.so")),
        "etc/ld.so.conf": file(b"include /etc/ld.so.conf.d/*.conf\n"),
    }
    tree = Tree().with_nodes(sound(X86_64) | nodes)
    assert len(check.check(tree, X86_64)) == 1
    configured = tree.with_nodes({"etc/ld.so.conf.d/tool.conf": file(b"# tool\n/opt/tool\n")})
    assert check.check(configured, X86_64) == []


def test_arm_programs_are_hard_float() -> None:
    soft = elf(ARM, interpreter=ARM.loader, flags=0x0500_0200)
    (finding,) = found(ARM, usr__bin__soft=file(soft))
    assert "soft float" in finding


def test_static_arm_programs_may_lack_the_flag_as_those_of_go_do() -> None:
    assert found(ARM, usr__bin__k3s=file(elf(ARM, flags=0x0500_0002, dynamic=False))) == []


def test_arm_programs_of_an_older_abi() -> None:
    (finding,) = found(ARM, usr__bin__old=file(elf(ARM, flags=0x0400_0000, dynamic=False)))
    assert "EABI" in finding


def test_kernel_modules_only_need_their_machine() -> None:
    path = "usr__lib__modules__6__kernel__x.ko"
    assert found(ARM, **{path: file(module(ARM, {"depends": ""}))}) == []
    (finding,) = found(ARM, **{path: file(module(ARM64, {"depends": ""}))})
    assert "AARCH64" in finding


def test_damaged_files_are_findings_not_tracebacks() -> None:
    whole = elf(X86_64, interpreter=X86_64.loader, needed=["libc.so.6"])
    for length in range(52, len(whole), 5):
        found(X86_64, usr__bin__cut=file(whole[:length]))
    for position in range(4, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        found(X86_64, usr__bin__bad=file(bytes(damaged)))


def test_an_unreadable_header_is_an_error() -> None:
    broken = bytearray(elf(X86_64))
    broken[4] = 9
    with pytest.raises(ArchiveError):
        elf_facts.read(file(bytes(broken)))
    assert len(found(X86_64, usr__bin__x=file(bytes(broken)))) == 1


def test_all_findings_are_errors_with_a_fix() -> None:
    tree = Tree().with_nodes({"usr/bin/x": file(elf(ARM, interpreter="/lib/ld.so"))})
    findings = check.check(tree, X86_64)
    assert errors(findings) == findings
    assert all(finding.fix for finding in findings)
