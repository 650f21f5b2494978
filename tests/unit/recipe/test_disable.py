"""`!name` in `disable`: a component that an included recipe turns off."""

from __future__ import annotations

import pytest
from edgeimg.recipe.k3s import K3s
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("names", "disabled"),
    [
        (["traefik", "coredns", "!coredns"], ["traefik"]),
        (["coredns", "!coredns", "coredns"], ["coredns"]),
        (["!coredns", "traefik"], ["traefik"]),
        (["traefik", "ccm"], ["traefik", "ccm"]),
        (["traefik", "!traefik"], []),
    ],
)
def test_the_last_word_counts(names: list[str], disabled: list[str]) -> None:
    assert K3s.model_validate({"config": {"disable": names}}).config["disable"] == disabled


def test_images_come_along_for_what_is_taken_off() -> None:
    config = {"disable": ["coredns", "traefik"]}
    with pytest.raises(ValidationError, match="airgap has coredns"):
        K3s.model_validate({"airgap": ["coredns"], "config": config})
    more = {"disable": [*config["disable"], "!coredns"]}
    assert K3s.model_validate({"airgap": ["coredns"], "config": more}).airgap == ("coredns",)


def test_a_name_that_no_component_has_is_refused() -> None:
    with pytest.raises(ValidationError, match="'!corends', expected one of '!coredns'"):
        K3s.model_validate({"config": {"disable": ["!corends"]}})


@pytest.mark.parametrize(
    ("source", "takes"), [("release", True), ("file", True), ("standin", False)]
)
def test_the_stand_in_brings_its_own_images(source: str, takes: bool) -> None:
    k3s = K3s.model_validate({"source": source, "airgap": ["coredns"]})
    assert k3s.takes_airgap_release is takes


@pytest.mark.parametrize("wrong", [[[]], ["traefik", {}], [1, "!coredns"]])
def test_other_values_are_refused(wrong: list[object]) -> None:
    with pytest.raises(ValidationError, match="expected names of components"):
        K3s.model_validate({"config": {"disable": wrong}})
