"""K3s' options in the image: for each role what it knows, mirrors told to K3s and containerd."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from edgeimg.compose.k3s_config import AGENT_OPTIONS, nodes, options
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.recipe.k3s import K3s
from pydantic import ValidationError

RECIPE = Path(__file__).parents[3] / "recipes/gateway.toml"


def k3s(**given: Any) -> K3s:
    return K3s.model_validate(given)


def test_labels_and_taints_join_those_of_the_options() -> None:
    made = k3s(
        labels={"site": "hall-7", "example.org/line": ""},
        taints=("dedicated=plc:NoSchedule",),
        config={"node-label": "a=b"},
    )
    assert options(made, "server") == {
        "node-label": ["a=b", "example.org/line=", "site=hall-7"],
        "node-taint": ["dedicated=plc:NoSchedule"],
    }


def test_each_role_has_its_options_in_the_image_and_agents_no_others() -> None:
    files = nodes(load(RECIPE).recipe.k3s)
    server = json.loads(files["usr/share/edgeimg/k3s/server.yaml"].read())
    agent = json.loads(files["usr/share/edgeimg/k3s/agent.yaml"].read())
    assert json.loads(files["etc/rancher/k3s/config.yaml"].read()) == server
    assert {"disable", "write-kubeconfig-mode"} <= server.keys()
    assert agent.keys() == server.keys() & set(AGENT_OPTIONS)
    assert {"container-runtime-endpoint", "kubelet-arg"} <= agent.keys()
    assert {node.mode for path, node in files.items() if path.endswith(".yaml")} == {0o600}


def test_an_agents_image_starts_as_one() -> None:
    files = nodes(k3s(role="agent", config={"disable": ["traefik"], "server": "https://a:6443"}))
    assert json.loads(files["etc/rancher/k3s/config.yaml"].read()) == {"server": "https://a:6443"}
    assert files["etc/rancher/k3s/k3s.env"].read() == b"K3S_ROLE=agent\n"


def test_the_smoke_test_uses_the_components_whose_images_are_there() -> None:
    path = "usr/share/edgeimg/smoke/components"
    files = nodes(k3s(airgap=["local-storage", "metrics-server", "coredns"]))
    assert files[path].read() == b"coredns\nlocal-storage\n"
    assert path not in nodes(k3s(airgap=["metrics-server"]))
    assert path not in nodes(load(RECIPE).recipe.k3s)


def test_mirrors_are_told_to_both_in_order() -> None:
    mirrors = ["https://mirror.lan:5000", "http://old.lan/v2/hub"]
    files = nodes(
        k3s(registries={"docker.io": {"endpoints": mirrors, "insecure": True},
                        "*": {"endpoints": ["https://all.lan"]}})
    )  # fmt: skip
    told = json.loads(files["etc/rancher/k3s/registries.yaml"].read())
    assert told["mirrors"]["docker.io"] == {"endpoint": mirrors}
    assert told["configs"].keys() == {"mirror.lan:5000", "old.lan"}
    hosts = tomllib.loads(files["etc/containerd/certs.d/docker.io/hosts.toml"].read().decode())
    assert list(hosts["host"].items()) == [
        (mirrors[0], {"capabilities": ["pull", "resolve"], "skip_verify": True}),
        (mirrors[1], {"capabilities": ["pull", "resolve"], "override_path": True,
                      "skip_verify": True}),
    ]  # fmt: skip
    everything = files["etc/containerd/certs.d/_default/hosts.toml"].read().decode()
    assert tomllib.loads(everything)["host"].keys() == {"https://all.lan"}


@pytest.mark.parametrize("option", ["token", "agent-token", "token+", "etcd-s3-secret-key"])
def test_a_secret_in_a_recipe_is_refused_and_not_repeated(option: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[k3s.config]\ndebug = true\n"{option}" = "hush"\n')
    with pytest.raises(RecipeError) as caught:
        load(recipe)
    told = str(caught.value)
    assert "r.toml:3" in told
    assert "provision it for each gateway" in told
    assert "hush" not in told


@pytest.mark.parametrize(
    "given",
    [
        {"labels": {"-x": "1"}},
        {"labels": {"x": "a b"}},
        {"labels": {"node-role.kubernetes.io/worker": "true"}},
        {"taints": ["plc"]},
        {"taints": ["plc=1:Never"]},
        {"registries": {"docker.io/library": {"endpoints": ["https://a"]}}},
        {"registries": {"docker.io": {"endpoints": []}}},
        {"registries": {"docker.io": {"endpoints": ["mirror.lan"]}}},
        {"registries": {"docker.io": {"endpoints": ["https://user:pass@mirror.lan"]}}},
    ],
)
def test_what_kubernetes_or_containerd_would_refuse_is_refused_here(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        k3s(**given)


def test_labels_that_a_kubelet_may_give_itself_pass() -> None:
    k3s(labels={"node.kubernetes.io/instance-type": "gw4", "example.org/k8s.io": "1"})
