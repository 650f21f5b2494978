"""What holds a release back, by name, and nothing else does."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from edgeimg import errors
from edgeimg.arch import ARM, X86_64
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.check.findings import Finding
from edgeimg.recipe.file import load
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.types import Gate
from edgeimg.release import gates
from edgeimg.release.gates import GATES, Hold
from edgeimg.smoke.smoke import PORTS
from edgeimg.smoke.verdict import Check

PROJECT = Path(__file__).parents[3]


def hold(gate: Gate) -> Hold:
    return Hold(gate=gate, reason=f"because of {gate}")


@pytest.fixture(scope="module")
def plan() -> BuildPlan:
    source = load(PROJECT / "recipes/gateway.toml")
    return plan_build(source, X86_64, BuildOptions(output=Path("out")))


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("recipe.toml", "overlays/base/file", "overlays/mine/file"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    return tmp_path


def dirty(project: Path, plan: BuildPlan) -> list[str]:
    found = gates.of_inputs([plan], [project / "recipe.toml"], project)
    return [hold.reason for hold in found if hold.gate == "dirty-overlay"]


def test_committed_inputs_hold_nothing_back(project: Path, plan: BuildPlan) -> None:
    assert dirty(project, plan) == []


@pytest.mark.parametrize("name", ["recipe.toml", "overlays/base/file", "overlays/base/new file"])
def test_whatever_is_not_committed_is_named(project: Path, plan: BuildPlan, name: str) -> None:
    (project / name).write_text("changed")
    assert dirty(project, plan) == [f"{name} is not committed"]


@pytest.mark.parametrize("name", ["bin/x-x86-64", "bin/x.tar", "bin/root/file"])
def test_what_services_are_made_of_is_looked_at(project: Path, plan: BuildPlan, name: str) -> None:
    services = {
        "a": {"binary": "bin/x-{arch}", "files": "bin/root"},
        "b": {"archive": "bin/x.tar"},
    }
    recipe = plan.recipe.model_copy(update={"services": Recipe(services=services).services})
    plan = dataclasses.replace(plan, recipe=recipe)
    for path in ("bin/x-x86-64", "bin/x.tar", "bin/root/file"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("x")
    git(project, "add", ".")
    git(project, "commit", "-qm", "services")
    assert dirty(project, plan) == []
    (project / name).write_text("changed")
    assert dirty(project, plan) == [f"{name} is not committed"]


def test_what_git_ignores_is_no_less_uncommitted(project: Path, plan: BuildPlan) -> None:
    (project / ".gitignore").write_text("*.key\n")
    (project / "overlays/base/x.key").write_text("x")
    assert dirty(project, plan) == ["overlays/base/x.key is not committed"]


def test_what_the_recipe_does_not_use_may_be_dirty(project: Path, plan: BuildPlan) -> None:
    (project / "overlays/mine/file").write_text("changed")
    assert dirty(project, plan) == []


def test_a_project_without_git_holds_back(tmp_path: Path, plan: BuildPlan) -> None:
    (tmp_path / "overlays/base").mkdir(parents=True)
    (reason,) = dirty(tmp_path, plan)
    assert reason.startswith("git does not know the project: ")
    assert "not a git repository" in reason


def test_a_standin_and_an_unsigned_index_hold_back(project: Path, plan: BuildPlan) -> None:
    source = load(PROJECT / "recipes/gateway.toml")
    choice = BuildOptions(output=Path("out"), k3s=K3sChoice(source="standin"))
    standin = plan_build(source, ARM, choice)
    locks = {name: dataclasses.replace(lock, unsigned_index=True)
             for name, lock in standin.lock.images.items()}  # fmt: skip
    unsigned = dataclasses.replace(standin, lock=dataclasses.replace(standin.lock, images=locks))
    found = gates.of_inputs([plan, unsigned], [], project)
    assert [(hold.gate, hold.reason.partition(":")[0]) for hold in found] == [
        ("standin", "arm"),
        ("unsigned-index", "arm"),
    ]


def test_unsigned_boot_files_hold_back(plan: BuildPlan) -> None:
    missing = gates.of_missing_boot_key([plan])
    found = gates.of_boot_files("arm64", ["EFI/BOOT/BOOTAA64.EFI: it is not signed"])
    assert [hold.gate for hold in (*missing, *found)] == ["unsigned-boot"] * 2
    assert gates.of_boot_files("arm64", []) == []
    with pytest.raises(errors.ReleaseError):
        gates.refuse(found, [])
    assert gates.refuse(found, ["unsigned-boot"]) == tuple(found)


def test_findings_hold_back_as_budget_or_checks_and_warnings_do_not() -> None:
    found = gates.of_findings(
        "arm",
        [
            Finding(check="size", severity="error", path="budget.root", message="too large"),
            Finding(check="elf", severity="error", path="usr/bin/x", message="foreign"),
            Finding(check="elf", severity="warning", path="usr/bin/y", message="odd"),
        ],
    )
    assert [hold.gate for hold in found] == ["budget", "checks"]


def test_a_failed_check_of_the_guest_holds_back_unless_it_is_a_finding_already() -> None:
    checks = [
        Check(name="a pod answers", failure="no answer in 300 s"),
        Check(name="the node is ready"),
        Check(name=PORTS, failure="8080"),
    ]
    assert gates.of_boot("arm", checks) == [
        Hold(gate="boot", reason="arm: not true: a pod answers", detail="no answer in 300 s")
    ]


@pytest.mark.parametrize(
    ("count", "last"), [(20, "reason 20"), (21, "and 1 more"), (45, "and 25 more")]
)
def test_a_long_list_of_reasons_ends_with_how_many_more(count: int, last: str) -> None:
    holds = [Hold(gate="checks", reason=f"reason {number + 1:02}") for number in range(count)]
    with pytest.raises(errors.CheckError) as caught:
        gates.refuse(holds, ())
    lines = caught.value.message.splitlines()
    assert last in lines[-1]
    assert len(lines) == 1 + min(count, 21)


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_opens_by_its_own_name_only(gate: Gate) -> None:
    codes: dict[str, int] = {"budget": 10, "checks": 11, "boot": 12}
    assert gates.refuse([hold(gate), hold(gate)], {gate}) == (hold(gate),)
    with pytest.raises(errors.EdgeimgError, match=f"because of {gate}") as caught:
        gates.refuse([hold(gate)], set(GATES) - {gate})
    assert caught.value.exit_code == codes.get(gate, 15)
    assert f"--allow {gate}" in str(caught.value.hint)


def test_all_that_holds_back_is_told_at_once() -> None:
    with pytest.raises(errors.ReleaseError) as caught:
        gates.refuse([hold("boot"), hold("standin"), hold("budget")], {"budget"})
    assert "because of boot" in caught.value.message
    assert "because of standin" in caught.value.message
    assert "because of budget" not in caught.value.message
