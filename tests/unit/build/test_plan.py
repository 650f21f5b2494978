"""One plan a command: what is planned once, and what the key of a build depends on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from edgeimg import tree
from edgeimg.arch import ARCHITECTURES, ARM64, X86_64, Arch
from edgeimg.build import guests, inputs, pipeline, stages
from edgeimg.build.options import BuildOptions, K3sChoice, ReleaseOptions, SmokeOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.cli import cli
from edgeimg.errors import DigestError, EdgeimgError, ReleaseError
from edgeimg.image.manifest import Contents, K3sFacts, Manifest
from edgeimg.image.partitions import DiskPlan
from edgeimg.progress import Silent
from edgeimg.recipe.file import load
from edgeimg.release import gates, make
from edgeimg.tree import Tree
from edgeimg.ui import Ui
from edgeimg.vm.argv import GuestOptions

from tests.fake_k3s import FakeK3s

RECIPE = Path(__file__).parents[3] / "recipes/gateway.toml"
NAMES = [arch.name for arch in ARCHITECTURES]


class StopError(EdgeimgError):
    """Ends a command where its plans have been made and passed on."""


@pytest.fixture
def plan() -> BuildPlan:
    return plan_build(load(RECIPE), X86_64, BuildOptions(output=Path("out")))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each architecture's plan is made."""
    counts: Counter[str] = Counter()

    def counted(source: Any, arch: Arch, *rest: Any) -> BuildPlan:
        counts[arch.name] += 1
        return plan_build(source, arch, *rest)

    for name, module in list(sys.modules.items()):
        if name.startswith("edgeimg.") and getattr(module, "plan_build", None) is plan_build:
            monkeypatch.setattr(module, "plan_build", counted)
    return counts


@pytest.mark.parametrize("command", ["build", "check", "cve"])
def test_a_command_plans_each_architecture_once(
    planned: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
) -> None:
    composed: list[BuildPlan] = []

    def compose(plan: BuildPlan, *_: object) -> Any:
        composed.append(plan)
        if len(composed) == len(NAMES):
            raise StopError("composed")
        return SimpleNamespace(plan=plan, source=None)

    monkeypatch.setattr(pipeline, "compose", compose)
    monkeypatch.setattr(pipeline, "_pack_tools", lambda *_: None)
    monkeypatch.setattr(pipeline, "describe", lambda *_: None)
    monkeypatch.setattr("edgeimg.cli.inventory.cyclonedx", lambda _: b"{}")
    monkeypatch.setattr(stages, "absent", lambda _: [])
    for stage in ("check_programs", "publish", "measure", "check"):
        monkeypatch.setattr(stages, stage, lambda *_: None)
    monkeypatch.setattr("edgeimg.build.pipeline.make_filesystems", lambda *_, **__: None)
    monkeypatch.setenv("EDGEIMG_CACHE", str(tmp_path / "cache"))
    out = [] if command == "cve" else ["-o", str(tmp_path)]
    feed = [str(RECIPE)] if command == "cve" else []
    result = CliRunner().invoke(cli, [command, *feed, "-a", "all", "-r", str(RECIPE), *out])
    assert isinstance(result.exception, StopError), result.exception
    assert [plan.arch.name for plan in composed] == NAMES
    assert planned == dict.fromkeys(NAMES, 1)


def released(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *allow: Any, standin: bool = False
) -> list[list[BuildPlan]]:
    """Release a K3s given by its path until guests would boot; the plans at each station."""
    seen: list[list[BuildPlan]] = [[], []]

    def inputs_of(plans: Sequence[BuildPlan], *_: object) -> list[gates.Hold]:
        seen[0].extend(plans)
        return []

    def make_part(plan: BuildPlan, *_: object) -> tuple[Any, Any]:
        seen[1].append(plan)
        facts = K3sFacts(version="v1", source="file", sha256="0" * 64, standin=standin)
        manifest = Manifest(
            contents=Contents(
                id="x", version="1", arch=plan.arch.name, epoch=1, kernel="6", k3s=facts,
                packages=(), components={},
            ),
            root_hash="0" * 64, disk=DiskPlan(uuid="u", size=1, partitions=()), sizes={},
        )  # fmt: skip
        built = SimpleNamespace(manifest=manifest, download=tmp_path / "image")
        return SimpleNamespace(plan=plan, built=built), SimpleNamespace(findings=())

    def smoke(images: Sequence[guests.BootImage], *_: object, **__: object) -> None:
        assert [image.arch for image in images] == [plan.arch for plan in seen[1]]
        raise StopError("booted")

    monkeypatch.setattr(gates, "of_inputs", inputs_of)
    monkeypatch.setattr(make, "_make", make_part)
    monkeypatch.setattr(guests, "smoke", smoke)
    monkeypatch.setattr("edgeimg.trust.keys.find", lambda *_, **__: None)
    monkeypatch.setattr("edgeimg.trust.signatures.rehearse", lambda *_, **__: None)
    k3s = tmp_path / "k3s"
    k3s.write_bytes(b"k3s")
    options = ReleaseOptions(
        build=BuildOptions(output=tmp_path, k3s=K3sChoice(source="file", path=k3s)),
        guest=SmokeOptions(output=tmp_path, guest=GuestOptions()),
        directory=tmp_path / "release",
        allow=frozenset(allow),
    )
    with pytest.raises(StopError):
        make.release(
            load(RECIPE), ARCHITECTURES, options, store=Store(tmp_path), ui=Ui(verbosity=-1)
        )
    return seen


def test_a_release_builds_the_plans_that_its_gates_saw(
    planned: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged, built = released(monkeypatch, tmp_path)
    assert planned == dict.fromkeys(NAMES, 1)
    assert [id(plan) for plan in judged] == [id(plan) for plan in built]


def test_a_stand_in_that_comes_as_a_file_holds_a_release_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseError, match="arm64: the K3s inside is the stand-in") as raised:
        released(monkeypatch, tmp_path, standin=True)
    assert "--allow standin" in str(raised.value.hint)
    released(monkeypatch, tmp_path, "standin", standin=True)


def test_a_root_that_is_composed_already_is_not_composed_again(
    plan: BuildPlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    composed: Any = SimpleNamespace(source=None)
    made: list[object] = []

    def compose(*_: object) -> Any:
        made.append("composed")
        return composed

    monkeypatch.setattr(pipeline, "compose", compose)
    monkeypatch.setattr(pipeline, "_pack_tools", lambda *_: None)
    monkeypatch.setattr(stages, "absent", lambda _: [])
    monkeypatch.setattr(stages, "check_programs", lambda _: None)
    monkeypatch.setattr("edgeimg.build.pipeline.make_filesystems", lambda *_, **__: None)
    monkeypatch.setattr(stages, "publish", lambda given, *_: made.append(given))
    plan = replace(plan, output=tmp_path)
    pipeline.build(plan, store=Store(tmp_path), ui=Ui(verbosity=-1), composed=composed)
    assert made == [composed]
    pipeline.build(plan, store=Store(tmp_path), ui=Ui(verbosity=-1))
    assert made == [composed, "composed", composed]


def changed(content: bytes) -> Tree:
    return Tree().with_nodes({"etc/motd": tree.file(content)})


@pytest.mark.parametrize(
    "change",
    [
        {"overlay": changed(b"x")},
        {"manifests": {"web": changed(b"x")}},
        {"project_files": {"web": changed(b"x")}},
        {"update_key": b"key"},
        {"k3s_identity": "file 00"},
        {"over_budget": True},
        {"arch": ARM64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_image_changes_the_key(
    plan: BuildPlan, change: dict[str, Any]
) -> None:
    base = replace(plan, manifests={"web": Tree()}, project_files={"web": Tree()})
    assert replace(base).key == base.key
    assert replace(base, output=Path("elsewhere"), offline=True).key == base.key
    assert replace(base, **change).key != base.key


def test_a_k3s_that_changes_after_the_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k3s"
    path.write_bytes(FakeK3s(X86_64).binary())
    options = BuildOptions(output=tmp_path, k3s=K3sChoice(source="file", path=path))
    planned = plan_build(load(RECIPE), X86_64, options)
    assert inputs.get_k3s(planned, Store(tmp_path / "cache"), Silent()).source == "file"
    with pytest.raises(DigestError, match="changed"):
        inputs.get_k3s(
            replace(planned, k3s_identity="file 00"), Store(tmp_path / "cache"), Silent()
        )


@pytest.mark.parametrize(
    ("cpus", "guests", "expected"), [(None, 1, 2), (None, 3, 1), (4, 1, 4), (2, 3, 2)]
)
def test_guests_that_run_at_once_have_one_processor_each_unless_asked_otherwise(
    cpus: int | None, guests: int, expected: int
) -> None:
    assert GuestOptions(cpus=cpus).shared(guests).processors == expected
