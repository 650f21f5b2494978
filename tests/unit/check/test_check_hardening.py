"""Programs that do not defend themselves, planted one by one."""

from __future__ import annotations

from typing import Any

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, X86_64, Arch
from edgeimg.check import hardening
from edgeimg.check.findings import Finding
from edgeimg.tree import Node, Tree, directory, file

from tests.samples import elf, module

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
PLACE = "usr/bin/tool"


def found(arch: Arch, extra: dict[str, Node] | None = None, **options: Any) -> list[Finding]:
    options = {"interpreter": arch.loader} | options
    nodes = {PLACE: file(elf(arch, **options)), "usr/lib/tool": directory(), **(extra or {})}
    return hardening.check(Tree().with_nodes(nodes))


@each_arch
def test_a_hardened_program_has_no_findings(arch: Arch) -> None:
    assert found(arch) == []
    assert found(arch, symbols=["strcpy", "__stack_chk_fail"], runpath="/usr/lib/tool") == []


@each_arch
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"pie": False}, "no-pie"),
        ({"dynamic": False, "interpreter": None}, "no-pie"),
        ({"relro": False}, "no-relro"),
        ({"stack": 7}, "executable-stack"),
        ({"stack": None}, "executable-stack"),
        ({"load": 7}, "writable-code"),
        ({"text_relocations": True}, "text-relocations"),
        ({"symbols": ["strcpy", "memcpy"]}, "no-stack-protector"),
        ({"rpath": "/home/me/lib"}, "search-path"),
    ],
)
def test_each_weakness_is_one_finding(arch: Arch, options: dict[str, Any], rule: str) -> None:
    (finding,) = found(arch, **options)
    assert (finding.rule, finding.path) == (rule, PLACE)
    assert finding.fix


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "depends on where it is started"),
        ("lib", "depends on where it is started"),
        ("/usr/lib/tool:", "depends on where it is started"),
        ("/usr/lib/gone", "not in the image"),
        ("/opt/vendor", "no place of the system's libraries"),
        ("$ORIGIN", "no place of the system's libraries"),
        ("$ORIGIN/../gone", "not in the image"),
        ("/usr/lib/shared", "others than root can write"),
        ("/usr/lib/theirs", "others than root can write"),
    ],
)
@pytest.mark.parametrize("kind", ["rpath", "runpath"])
def test_search_paths_that_lead_elsewhere(kind: str, path: str, reason: str) -> None:
    theirs = Node(kind=directory().kind, mode=0o755, uid=1000)
    extra = {
        "opt/vendor": directory(),
        "usr/lib/shared": directory(mode=0o777),
        "usr/lib/theirs": theirs,
    }
    (finding,) = found(X86_64, extra, **{kind: path})
    assert finding.rule == "search-path"
    assert reason in finding.message


@pytest.mark.parametrize("path", ["/usr/lib/tool", "$ORIGIN/../lib/tool", "${ORIGIN}/../lib/tool"])
def test_search_paths_of_the_system(path: str) -> None:
    assert found(X86_64, runpath=path) == []


def test_kernel_modules_and_texts_are_not_judged() -> None:
    nodes = {"usr/lib/modules/6/x.ko": file(module(ARM, {})), "etc/x": file(b"x" * 99)}
    assert hardening.check(Tree().with_nodes(nodes)) == []


def test_damaged_files_do_no_harm() -> None:
    whole = elf(X86_64, interpreter=X86_64.loader, symbols=["strcpy"], runpath="/x")
    for position in range(4, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        hardening.check(Tree().with_nodes({PLACE: file(bytes(damaged))}))
