"""Planted defects: each gives exactly one finding, at its place; without them there is none.

The same is done to the default recipe's real roots in tests/integration/test_check_default.py.
"""

from __future__ import annotations

import pytest
from edgeimg.arch import ARCHITECTURES, X86_64, Arch
from edgeimg.check import listening, size
from edgeimg.check.all import everything
from edgeimg.check.containers import Absent
from edgeimg.check.findings import Finding
from edgeimg.check.size import Sizes
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.rules import RULES
from edgeimg.recipe.tables import Check
from edgeimg.tree import file

from tests import clean
from tests.planted import DEFECTS, IMAGES, KEY, SYSCTL, Defect, image, planted


def look(defect: Defect) -> list[Finding]:
    recipe = Recipe(**defect.recipe)
    root = clean.root(defect.arch).with_nodes(defect.files)
    root = root.without(lambda path, _: path == defect.gone)
    kernel = clean.kernel(**defect.kernel)
    return [
        *everything(
            root,
            recipe,
            defect.arch,
            kernel,
            initrd=defect.initrd,
            absent=defect.absent,
            packages=defect.packages,
        ),
        *size.check(recipe.budget, Sizes(parts=defect.sizes)),
        *listening.check(defect.listening, recipe.check.listening),
    ]


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_a_clean_root_has_no_findings(arch: Arch) -> None:
    assert look(Defect(rule="", path="", arch=arch)) == []


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_each_defect_is_one_finding_at_its_place(defect: Defect) -> None:
    (finding,) = look(defect)
    assert (finding.rule, finding.path, finding.item) == (defect.rule, defect.path, defect.item)
    assert finding.check == RULES[finding.rule].check
    assert finding.severity == RULES[finding.rule].severity


def test_a_key_in_a_container_image_names_the_member() -> None:
    (finding,) = look(planted(IMAGES, image("etc/key.pem", file(KEY)), "private-key"))
    assert finding.path == IMAGES
    assert finding.item.endswith("!etc/key.pem")


def test_the_planted_defects_cover_every_rule() -> None:
    told = {defect.rule for defect in DEFECTS.values()}
    elsewhere = {"writable-code", "unread-archive"}  # test_check_hardening, test_check_secrets
    assert told | elsewhere == set(RULES)


def test_all_at_once_are_as_many_findings() -> None:
    """Defects do not hide each other."""
    chosen = [
        replace_path(defect, number)
        for number, defect in enumerate(DEFECTS.values())
        if defect.arch is X86_64 and list(defect.files) == ["usr/bin/x"]
    ]
    together = {path: node for defect in chosen for path, node in defect.files.items()}
    findings = look(Defect(rule="", path="", files=together))
    assert sorted((f.rule, f.path) for f in findings) == sorted((d.rule, d.path) for d in chosen)
    assert len(findings) > 10


def replace_path(defect: Defect, number: int) -> Defect:
    (node,) = defect.files.values()
    path = f"usr/bin/x{number}"
    return planted(path, node, defect.rule)


@pytest.mark.parametrize(
    ("defect", "entry"),
    [
        ("set-user-ID shell", "setuid:usr/bin/x"),
        ("set-user-ID shell", "setuid:usr/bin/*"),
        ("kernel option", "kernel-option:CONFIG_CGROUP_PIDS"),
        ("kernel parameter", "sysctl:kernel.kptr_restrict"),
        ("kernel parameter", f"sysctl:{SYSCTL}#kernel.kptr_restrict"),
        ("service without a sandbox", "unit-exposure:mine.service"),
    ],
)
def test_what_the_recipe_accepts_is_no_finding(defect: str, entry: str) -> None:
    assert look(with_exceptions(DEFECTS[defect], entry)) == []


@pytest.mark.parametrize("entry", ["setuid:usr/bin/y", "setgid:usr/bin/x", "setuid:bin/x"])
def test_an_exception_is_for_its_rule_and_place_only(entry: str) -> None:
    rules = [finding.rule for finding in look(with_exceptions(DEFECTS["set-user-ID shell"], entry))]
    assert rules == ["setuid", "unused-accept"]


def with_exceptions(defect: Defect, *entries: str) -> Defect:
    return Defect(
        rule=defect.rule,
        path=defect.path,
        files=defect.files,
        kernel=defect.kernel,
        recipe={"check": Check(accept=entries)},
    )


def test_the_compression_of_the_root_asks_for_its_option() -> None:
    defect = Defect(rule="", path="", recipe={"image": {"compression": "zstd,12"}})
    (finding,) = look(defect)
    assert (finding.rule, finding.item) == ("kernel-option", "CONFIG_EROFS_FS_ZIP_ZSTD")


def test_an_option_must_not_be_a_module_where_it_cannot_be_loaded() -> None:
    (finding,) = look(Defect(rule="", path="", kernel={"CGROUPS": "m"}))
    assert "must be built in" in finding.message


def test_a_kernel_that_does_not_tell_its_configuration() -> None:
    unknown = clean.kernel(**dict.fromkeys(clean.kernel().options, "n"))
    findings = everything(
        clean.root(X86_64), Recipe(), X86_64, unknown, initrd=clean.INITRD, absent=Absent()
    )
    assert [finding.rule for finding in findings] == ["kernel-option"]


def test_findings_are_in_one_order() -> None:
    defects = ("TLS key", "set-user-ID shell", "world-writable file")
    files = {path: node for name in defects for path, node in DEFECTS[name].files.items()}
    turned = dict(reversed(files.items()))
    forwards, backwards = (look(Defect(rule="", path="", files=nodes)) for nodes in (files, turned))
    assert forwards == backwards
    assert len(forwards) == len(defects)
