"""[k3s] hardening: what it adds to K3s' configuration, what a recipe may change, and its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from edgeimg.compose import k3s_config, k3s_hardening
from edgeimg.errors import RecipeError
from edgeimg.recipe import hardening
from edgeimg.recipe.file import load
from edgeimg.recipe.k3s import K3s
from pydantic import ValidationError

PROJECT = Path(__file__).parents[3]
GATEWAY = PROJECT / "recipes/gateway.toml"
KERNEL = {
    "vm.overcommit_memory": "1", "vm.panic_on_oom": "0", "kernel.panic": "10",
    "kernel.panic_on_oops": "1", "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}  # fmt: skip
"""What a kubelet demands with protect-kernel-defaults (pkg/kubelet/cm, setupKernelTunables)."""


def cis(**config: Any) -> K3s:
    return K3s.model_validate({"hardening": "cis", "config": config})


def flags(options: dict[str, Any], name: str) -> dict[str, str]:
    found = [text.partition("=")[::2] for text in options[name]]
    assert len({flag for flag, _ in found}) == len(found), f"{name} has a flag twice"
    return dict(found)


@pytest.fixture
def hardened(tmp_path: Path) -> K3s:
    """The default recipe, hardened."""
    path = tmp_path / "hardened.toml"
    path.write_text(f'include = ["{GATEWAY}"]\n[k3s]\nhardening = "cis"\n')
    return load(path).recipe.k3s


def test_it_is_off_until_its_memory_is_measured() -> None:
    k3s = load(GATEWAY).recipe.k3s
    assert k3s.hardening == "off"
    assert k3s_config.options(k3s, "server") == dict(k3s.config)
    assert not [path for path in k3s_config.nodes(k3s) if "hardening" in path or "audit" in path]


def test_the_default_recipe_gets_the_options_of_the_guide(hardened: K3s) -> None:
    files = k3s_config.nodes(hardened)
    options = json.loads(files["etc/rancher/k3s/config.yaml"].read())
    assert options["protect-kernel-defaults"] is options["secrets-encryption"] is True
    server = flags(options, "kube-apiserver-arg")
    assert server["enable-admission-plugins"] == "NodeRestriction,EventRateLimit"
    for flag in ("admission-control-config-file", "audit-policy-file"):
        assert files[server[flag].lstrip("/")].mode == 0o600
    assert server["service-account-extend-token-expiration"] == "false"
    kubelet = flags(options, "kubelet-arg")
    assert kubelet["streaming-connection-idle-timeout"] == "5m"
    assert kubelet["max-pods"] == "32"  # of the recipe
    assert flags(options, "kube-controller-manager-arg") == {"terminated-pod-gc-threshold": "100"}
    # The rest of the recipe is there.
    assert {"disable", "write-kubeconfig-mode", "container-runtime-endpoint"} <= options.keys()


def test_recipes_without_it_are_built_as_before(tmp_path: Path) -> None:
    """The key is no part of what a recipe without it says, so its images and locks stay good."""
    path = tmp_path / "r.toml"
    digests = {}
    for line in ("", '[k3s]\nhardening = "off"\n', '[k3s]\nhardening = "cis"\n',
                 '[arch.arm.k3s]\nhardening = "cis"\n'):  # fmt: skip
        path.write_text(line)
        digests[line] = load(path).recipe.digest()
    plain, off, on, arm = digests.values()
    assert plain == off
    assert len({plain, on, arm}) == 3


def test_an_agent_gets_what_agents_have(hardened: K3s) -> None:
    options = k3s_config.options(hardened, "agent")
    assert set(options) <= set(k3s_config.AGENT_OPTIONS)
    assert options["protect-kernel-defaults"] is True
    assert "pod-max-pids" in flags(options, "kubelet-arg")


@pytest.mark.parametrize("key", ["kubelet-arg", "kubelet-arg+"])
def test_values_that_are_the_recipes_win(key: str) -> None:
    options = hardening.merged(cis(**{key: ["pod-max-pids=64", "v=2"]}).config)
    assert {"kubelet-arg", "kubelet-arg+"} & options.keys() == {key}
    assert flags(options, key)["pod-max-pids"] == "64"
    assert flags(options, key)["v"] == "2"
    plugins = "enable-admission-plugins=AlwaysPullImages,NodeRestriction"
    merged = hardening.merged(cis(**{"kube-apiserver-arg": plugins}).config)
    assert flags(merged, "kube-apiserver-arg")["enable-admission-plugins"] == (
        "NodeRestriction,EventRateLimit,AlwaysPullImages"
    )


@pytest.mark.parametrize(
    ("option", "bad", "good"),
    [
        ("protect-kernel-defaults", False, True),
        ("secrets-encryption", "false", "true"),
        ("kube-apiserver-arg", ["audit-policy-file=/x"], ["audit-log-maxage=3"]),
        ("kube-apiserver-arg+", ["--admission-control-config-file=/x"], ["v=1"]),
        ("kube-apiserver-arg", "anonymous-auth=true", "anonymous-auth=false"),
        ("kube-apiserver-arg", "authorization-mode=Node,AlwaysAllow", "authorization-mode=RBAC"),
        ("kube-apiserver-arg", "disable-admission-plugins=PodSecurity",
         "disable-admission-plugins=StorageObjectInUseProtection"),
        ("kube-scheduler-arg", ["profiling=true"], ["profiling=false"]),
        ("kubelet-arg", ["read-only-port=10255"], ["read-only-port=0"]),
        ("kubelet-arg", ["authorization-mode=AlwaysAllow"], ["authorization-mode=Webhook"]),
    ],
)  # fmt: skip
def test_what_undoes_it_is_refused_by_its_key(option: str, bad: Any, good: Any) -> None:
    with pytest.raises(ValidationError, match=rf"config\.{re.escape(option)}: .*expected"):
        cis(**{option: bad})
    cis(**{option: good})
    K3s.model_validate({"config": {option: bad}})  # without hardening it may be said


def test_the_error_of_a_recipe_names_key_and_value(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[k3s]\nhardening = "cis"\n[k3s.config]\nprotect-kernel-defaults = false\n')
    with pytest.raises(RecipeError) as caught:
        load(path)
    assert "protect-kernel-defaults: expected true" in caught.value.message
    assert 'hardening = "cis"' in caught.value.message


def test_the_kernel_has_what_the_kubelet_demands() -> None:
    text = (PROJECT / "overlays/base/usr/lib/sysctl.d/60-edgeimg.conf").read_text()
    lines = [line.split("=") for line in text.splitlines() if "=" in line and line[0] != "#"]
    set_here = {key.strip(): value.strip() for key, value in lines}
    assert {key: set_here.get(key) for key in KERNEL} == KERNEL


def test_pods_are_judged_in_all_namespaces_but_k3s_own() -> None:
    found = yaml.safe_load(k3s_hardening.nodes()[hardening.ADMISSION].read())
    assert (found["apiVersion"], found["kind"]) == (
        "apiserver.config.k8s.io/v1", "AdmissionConfiguration",
    )  # fmt: skip
    plugins = {one["name"]: one["configuration"] for one in found["plugins"]}
    pods = plugins["PodSecurity"]
    assert pods["defaults"]["enforce"] == "baseline"
    assert pods["defaults"]["enforce-version"] == "latest"
    assert pods["exemptions"]["namespaces"] == ["kube-system"]
    # A plugin that is enabled and needs a configuration has one.
    assert set(plugins) - {"PodSecurity"} == set(hardening.PLUGINS) - {"NodeRestriction"}


def level(
    user: str, verb: str, resource: str, group: str = "", groups: tuple[str, ...] = ()
) -> str:
    """The level of a request: the first rule that fits (k8s.io/apiserver/pkg/audit/policy)."""
    rules = yaml.safe_load(k3s_hardening.nodes()[hardening.AUDIT].read())["rules"]
    sub = resource.partition("/")[2]
    for rule in rules:
        if "users" in rule and user not in rule["users"]:
            continue
        if "userGroups" in rule and not set(groups) & set(rule["userGroups"]):
            continue
        if "verbs" in rule and verb not in rule["verbs"]:
            continue
        names = {resource, *([f"*/{sub}"] if sub else [])}
        if "resources" in rule and not any(
            one["group"] == group and names & set(one["resources"]) for one in rule["resources"]
        ):
            continue
        return str(rule["level"])
    return "None"


NODE = ("system:node:box-1", ("system:nodes",))


@pytest.mark.parametrize(
    ("user", "verb", "resource", "group", "groups", "expected"),
    [
        ("system:admin", "get", "secrets", "", (), "Metadata"),
        ("system:admin", "get", "pods", "", (), "None"),
        ("system:admin", "delete", "pods", "", (), "Metadata"),
        ("system:admin", "get", "pods/exec", "", (), "Metadata"),
        ("system:admin", "create", "pods/exec", "", (), "Metadata"),
        ("system:admin", "patch", "deployments", "apps", (), "Metadata"),
        (NODE[0], "update", "leases", "coordination.k8s.io", NODE[1], "None"),
        (NODE[0], "patch", "nodes/status", "", NODE[1], "None"),
        (NODE[0], "watch", "secrets", "", NODE[1], "None"),
        (NODE[0], "create", "events", "", NODE[1], "None"),
        (NODE[0], "create", "serviceaccounts/token", "", NODE[1], "Metadata"),
        ("system:kube-scheduler", "watch", "pods", "", (), "None"),
        ("system:serviceaccount:default:app", "list", "secrets", "", (), "Metadata"),
    ],
)  # fmt: skip
def test_who_is_in_the_log(
    user: str, verb: str, resource: str, group: str, groups: tuple[str, ...], expected: str
) -> None:
    assert level(user, verb, resource, group, groups) == expected


def test_no_body_is_logged_and_the_log_is_small_and_for_root() -> None:
    files = k3s_hardening.nodes()
    policy = yaml.safe_load(files[hardening.AUDIT].read())
    assert {rule["level"] for rule in policy["rules"]} == {"None", "Metadata"}
    assert policy["omitStages"] == ["RequestReceived"]
    sizes = hardening.CHOSEN["kube-apiserver-arg"]
    assert (int(sizes["audit-log-maxbackup"]) + 1) * int(sizes["audit-log-maxsize"]) <= 24
    lines = files["usr/lib/tmpfiles.d/edgeimg-hardening.conf"].read().decode().splitlines()
    assert lines[-1] == "d /var/lib/rancher/k3s/server/logs 0700 root root"
    assert lines[0] == "d /var/lib/rancher 0755 root root"


def test_every_flag_is_on_the_page() -> None:
    page = (PROJECT / "docs/how-to/hardening.md").read_text()
    for group in hardening.CHOSEN.values():
        for flag in group:
            assert f"`{flag}`" in page, flag
