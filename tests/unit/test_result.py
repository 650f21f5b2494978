"""What a build says aloud before it begins."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from edgeimg.arch import ARM, X86_64
from edgeimg.build import result
from edgeimg.build.plan import BuildOptions, BuildPlan, plan_build
from edgeimg.progress import Silent
from edgeimg.recipe.file import load

RECIPE = Path(__file__).parents[2] / "recipes/gateway.toml"


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def announced(plan: BuildPlan, **k3s: object) -> list[str]:
    told = Told()
    wanted = plan.recipe.k3s.model_copy(update=k3s)
    recipe = plan.recipe.model_copy(update={"k3s": wanted})
    result.announce(dataclasses.replace(plan, recipe=recipe), told)
    return told.notes


@pytest.fixture
def plan() -> BuildPlan:
    return plan_build(load(RECIPE), X86_64, BuildOptions(output=Path("out")))


def test_the_official_k3s_needs_no_remark(plan: BuildPlan) -> None:
    assert announced(plan, source="release", airgap=("coredns",)) == []


def test_a_stand_in_is_named_and_what_it_does_not_bring(plan: BuildPlan) -> None:
    (told,) = announced(plan, source="standin", airgap=())
    assert "NOT K3s" in told
    _, lacks = announced(plan, source="standin", airgap=("coredns", "traefik"))
    assert "no coredns or traefik" in lacks


def test_an_index_without_a_good_signature_is_named() -> None:
    plan = plan_build(load(RECIPE), ARM, BuildOptions(output=Path("out")))
    assert plan.inputs.unsigned_index
    assert any("index that did not match its signature" in note for note in announced(plan))
