"""K3s' configuration in the image: its options, its role, and where images are pulled from.

K3s uses the image's own containerd, which it does not configure: registries are configured for
both, to K3s as registries.yaml, to containerd as hosts.toml (containerd, docs/hosts.md). YAML files
are written as JSON, which every YAML reader takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from edgeimg.compose import k3s_hardening
from edgeimg.recipe import hardening
from edgeimg.recipe.k3s import K3s, Registry
from edgeimg.tree import Node, file

DIRECTORY = "etc/rancher/k3s"
ROLES = "usr/share/edgeimg/k3s"
"""The options for each role, `server.yaml` and `agent.yaml`: provisioning may change the role."""
CERTS = "etc/containerd/certs.d"
PROVED = "usr/share/edgeimg/smoke/components"
"""A line for each component that the smoke test uses (overlays/base/usr/lib/edgeimg/report)."""
_PROVABLE = ("coredns", "local-storage")
AGENT_OPTIONS = (
    "airgap-extra-registry", "alsologtostderr", "container-runtime-endpoint", "data-dir", "debug",
    "default-runtime", "disable-apiserver-lb", "disable-default-registry-endpoint", "docker",
    "flannel-cni-conf", "flannel-conf", "flannel-iface", "image-credential-provider-bin-dir",
    "image-credential-provider-config", "image-service-endpoint", "kube-proxy-arg", "kubelet-arg",
    "lb-server-port", "log", "node-external-dns", "node-external-ip", "node-internal-dns",
    "node-ip", "node-label", "node-name", "node-taint", "nonroot-devices", "pause-image",
    "prefer-bundled-bin", "private-registry", "protect-kernel-defaults", "resolv-conf",
    "rootless", "selinux", "server", "snapshotter", "token-file", "v", "vmodule", "vpn-auth-file",
    "with-node-id",
)  # fmt: skip
"""The options of `k3s agent`. A server ignores unknown options of its file, an agent ends."""
_CERTIFICATES_UNCHECKED = {"insecure_skip_verify": True}


def nodes(k3s: K3s) -> dict[str, Node]:
    """The files of the root, by path; only root may read the options."""
    files: dict[str, Node] = {}
    if k3s.hardening == "cis":
        files |= k3s_hardening.nodes()
    if k3s.config or k3s.labels or k3s.taints or k3s.hardening == "cis":
        for role in ("server", "agent"):
            files[f"{ROLES}/{role}.yaml"] = _yaml(options(k3s, role), mode=0o600)
        files[f"{DIRECTORY}/config.yaml"] = files[f"{ROLES}/{k3s.role}.yaml"]
    proved = [name for name in _PROVABLE if name in k3s.airgap]
    if proved:
        files[PROVED] = file("".join(f"{name}\n" for name in proved).encode())
    if k3s.role != "server":
        files[f"{DIRECTORY}/k3s.env"] = file(f"K3S_ROLE={k3s.role}\n".encode())
    if k3s.registries:
        files[f"{DIRECTORY}/registries.yaml"] = _yaml(registries(k3s.registries), mode=0o600)
    for name, registry in k3s.registries.items():
        directory = "_default" if name == "*" else name
        files[f"{CERTS}/{directory}/hosts.toml"] = file(hosts(name, registry).encode())
    return files


def options(k3s: K3s, role: str) -> dict[str, object]:
    """K3s' options in one role: [k3s.config] with labels and taints, without unknown options.

    Those of [k3s] hardening are added.
    """
    is_hard = k3s.hardening == "cis"
    merged: dict[str, object] = hardening.merged(k3s.config) if is_hard else dict(k3s.config)
    labels = [f"{key}={value}" for key, value in sorted(k3s.labels.items())]
    for option, more in (("node-label", labels), ("node-taint", list(k3s.taints))):
        if more:
            values = merged.get(option, [])
            merged[option] = [*(values if isinstance(values, list) else [values]), *more]
    if role == "agent":
        merged = {key: value for key, value in merged.items() if key.rstrip("+") in AGENT_OPTIONS}
    return merged


def registries(table: Mapping[str, Registry]) -> dict[str, object]:
    """K3s' registries.yaml."""
    unchecked = {
        urlsplit(endpoint).netloc
        for registry in table.values() if registry.insecure
        for endpoint in registry.endpoints
    }  # fmt: skip
    document: dict[str, object] = {
        "mirrors": {
            name: {"endpoint": list(mirror.endpoints)} for name, mirror in sorted(table.items())
        }
    }
    if unchecked:
        document["configs"] = {host: {"tls": _CERTIFICATES_UNCHECKED} for host in sorted(unchecked)}
    return document


def hosts(name: str, registry: Registry) -> str:
    """containerd's hosts.toml: the mirrors, then the registry itself.

    Without a `server` line containerd continues with the registry by its own rules; Docker's
    is another name.
    """
    blocks = [f"# Mirrors of {'every registry' if name == '*' else name}, from the recipe.\n"]
    for endpoint in registry.endpoints:
        lines = [f"[host.{json.dumps(endpoint)}]", 'capabilities = ["pull", "resolve"]']
        if urlsplit(endpoint).path.strip("/"):
            lines.append("override_path = true")
        if registry.insecure:
            lines.append("skip_verify = true")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _yaml(content: Mapping[str, object], mode: int) -> Node:
    text = json.dumps(content, indent=2, sort_keys=True)
    return file(f"{text}\n".encode(), mode=mode)
