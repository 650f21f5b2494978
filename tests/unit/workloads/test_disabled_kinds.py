"""Admission policies against objects that need what [k3s.config] disables."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from edgeimg.recipe.k3s import K3s
from edgeimg.recipe.workloads import Workload, WorkloadName
from edgeimg.workloads import disabled_kinds
from pydantic import TypeAdapter, ValidationError

PARTS = {
    "networkpolicies": "disable-network-policy",
    "loadbalancers": "servicelb",
    "ingresses": "traefik",
    "claims": "local-storage",
}
ALL_OFF = {"disable": ["servicelb", "traefik", "local-storage"], "disable-network-policy": True}


def objects(config: dict[str, object], mode: str = "deny") -> dict[tuple[str, str], Any]:
    k3s = K3s.model_validate({"config": config, "disabled_kinds": mode})
    found = yaml.safe_load_all(disabled_kinds.manifest(k3s))
    return {
        (item["kind"].removeprefix("ValidatingAdmissionPolicy"), item["metadata"]["name"][8:]): item
        for item in found
    }


def expressions(config: dict[str, object], mode: str = "deny") -> dict[str, str]:
    return {
        name: item["spec"]["validations"][0]["expression"]
        for (kind, name), item in objects(config, mode).items()
        if not kind
    }


def test_each_disabled_part_refuses_its_objects_and_no_others() -> None:
    assert set(expressions({}).values()) == {"true"}
    every = expressions(ALL_OFF)
    assert "true" not in every.values()
    for name, part in PARTS.items():
        alone = {part: True} if part.startswith("disable-") else {"disable": [part]}
        assert expressions(alone) == {**expressions({}), name: every[name]}


@pytest.mark.parametrize(
    "config",
    [
        {"disable": "traefik,servicelb"},
        {"disable": "traefik, servicelb"},
        {"disable": ["traefik,servicelb"]},
        {"disable": ["coredns"], "disable+": ["traefik", "servicelb"]},
        {"disable": ["servicelb", "traefik"], "disable-network-policy": False},
        {"disable": ["servicelb", "traefik"], "disable-network-policy": "false"},
    ],
)
def test_every_spelling_of_disable_counts(config: dict[str, object]) -> None:
    assert {name for name, text in expressions(config).items() if text != "true"} == {
        "loadbalancers", "ingresses",
    }  # fmt: skip


def test_every_policy_is_bound_and_names_the_key_of_the_recipe() -> None:
    found = objects(ALL_OFF)
    for name, part in PARTS.items():
        (validation,) = found["", name]["spec"]["validations"]
        assert part in validation["message"]
        assert found["Binding", name]["spec"]["policyName"] == f"edgeimg-{name}"
    assert len(found) == 2 * len(PARTS)


@pytest.mark.parametrize(("mode", "action"), [("deny", "Deny"), ("warn", "Warn")])
def test_the_recipe_chooses_between_refusal_and_warning(mode: str, action: str) -> None:
    bindings = [item for (kind, _), item in objects(ALL_OFF, mode).items() if kind]
    found = {item["metadata"]["name"][8:]: item["spec"]["validationActions"] for item in bindings}
    # A claim may be bound to a PersistentVolume without a class.
    assert found == {**{name: [action] for name in PARTS}, "claims": ["Warn"]}
    assert expressions(ALL_OFF, mode) == expressions(ALL_OFF)


def test_ingresses_need_the_charts_of_traefik() -> None:
    """The default recipe turns off the controller of charts, which installs Traefik."""
    config: dict[str, object] = {"disable-helm-controller": True}
    assert expressions(config)["ingresses"] == expressions(ALL_OFF)["ingresses"] != "true"
    (one,) = objects(config)["", "ingresses"]["spec"]["validations"]
    (both,) = objects({**ALL_OFF, **config})["", "ingresses"]["spec"]["validations"]
    assert "set disable-helm-controller = false in" in one["message"]
    assert "take 'traefik' off `disable` and set disable-helm-controller" in both["message"]


def test_the_components_of_k3s_are_not_judged() -> None:
    for (kind, _), item in objects(ALL_OFF).items():
        if not kind:
            (rule,) = item["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
            assert (rule["operator"], rule["values"]) == ("NotIn", ["kube-system"])


def test_a_recipe_with_own_controllers_allows_all_of_them() -> None:
    assert set(expressions(ALL_OFF, "allow").values()) == {"true"}


def test_no_workload_takes_the_place_of_the_policies() -> None:
    names = TypeAdapter(dict[WorkloadName, Workload])
    assert names.validate_python({"disabled": {"manifests": "x"}})
    with pytest.raises(ValidationError, match="another one"):
        names.validate_python({"disabled-kinds": {"manifests": "x"}})
