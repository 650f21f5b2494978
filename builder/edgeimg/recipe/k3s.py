"""[k3s]: which K3s, from where, and how it is set up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from edgeimg.recipe.hardening import conflicts
from edgeimg.recipe.harmless import PORT, V6
from edgeimg.recipe.types import ArchKey, ConfigValue, Sha256
from edgeimg.text.validation import Table

SECRETS = ("token", "agent-token", "etcd-s3-access-key", "etcd-s3-secret-key", "vpn-auth")
"""Options of K3s that are secrets. An image is for everybody who can download it."""
WITHOUT_K3S = "edgeimg:overlays/no-k3s"
"""The built-in part that takes the place of K3s in images without it."""
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_KUBELETS_OWN = re.compile(r"(^|\.)(kubernetes|k8s)\.io$")
_ALLOWED_OWN = re.compile(r"(^|\.)(node|kubelet)\.kubernetes\.io$")
_WELL_KNOWN = (
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
    "beta.kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
)  # fmt: skip
"""Kubernetes, k8s.io/kubelet/pkg/apis/well_known_labels.go."""


def _label_value(text: str) -> str:
    if not re.fullmatch(rf"({_NAME})?", text):
        raise ValueError(
            "expected letters, digits, '-', '_' and '.', at most 63, without blanks: 'hall-7'"
        )
    return text


def _label(key: str) -> str:
    """What a kubelet may give itself (Kubernetes, NodeRestriction)."""
    if not _KEY.fullmatch(key):
        raise ValueError("expected the key of a label, such as 'site' or 'example.org/line'")
    prefix = key.rpartition("/")[0]
    if _KUBELETS_OWN.search(prefix) and not _ALLOWED_OWN.search(prefix) and key not in _WELL_KNOWN:
        raise ValueError(
            "of kubernetes.io a node may give itself topology.kubernetes.io/zone and /region, "
            "node.kubernetes.io/instance-type and names below node.kubernetes.io and "
            "kubelet.kubernetes.io: choose another name"
        )
    return key


def _taint(text: str) -> str:
    name, colon, effect = text.rpartition(":")
    key, _, value = name.partition("=")
    good = _KEY.fullmatch(key) and re.fullmatch(rf"({_NAME})?", value)
    if not colon or effect not in _EFFECTS or not good:
        raise ValueError("expected 'KEY=VALUE:EFFECT', the effect one of " + ", ".join(_EFFECTS))
    return text


_DOCKER_HUB = (
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
    "hub.docker.com",
)


def _registry(name: str) -> str:
    if name == "*":
        return name
    bare = re.sub("^https?://", "", name).partition("/")[0]
    if bare in _DOCKER_HUB:
        raise ValueError("expected 'docker.io', as the names of these images begin")
    host = rf"([A-Za-z0-9][A-Za-z0-9.-]{{0,252}}|\[{V6}\])(:({PORT}))?"
    if re.fullmatch(host, name):
        return name
    if re.fullmatch(host, bare):
        raise ValueError(f"expected '{bare}', without anything around it")
    raise ValueError("expected a registry such as 'docker.io' or 'registry.lan:5000', or '*'")


def _option(name: str) -> str:
    if name.rstrip("+") in SECRETS:
        raise ValueError("a secret, and images hold no secrets: provision it for each gateway")
    return name


LabelKey = Annotated[str, AfterValidator(_label)]
LabelValue = Annotated[
    str,
    AfterValidator(_label_value),
    WithJsonSchema({"type": "string", "pattern": rf"^({_NAME})?$"}),
]
Taint = Annotated[str, AfterValidator(_taint)]
RegistryName = Annotated[str, AfterValidator(_registry)]
Endpoint = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,255}(/[A-Za-z0-9._/-]*)?$")
]


OptionName = Annotated[str, AfterValidator(_option)]


Component = Literal["coredns", "local-storage", "metrics-server", "servicelb", "traefik"]


def _enabled(config: dict[str, ConfigValue]) -> dict[str, ConfigValue]:
    """`!name` in `disable` takes the name off, for recipes that include others."""
    names = config.get("disable")
    if not isinstance(names, list):
        return config
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) < len(names):
        raise ValueError(f"disable has {names}, expected names of components")
    disabled: dict[str, None] = {}
    for name in texts:
        bare = name[1:] if name.startswith("!") else None
        if bare is None:
            disabled[name] = None
        elif bare in get_args(Component):
            disabled.pop(bare, None)
        else:
            expected = ", ".join(f"'!{known}'" for known in get_args(Component))
            raise ValueError(f"disable has '!{bare}', expected one of {expected}")
    return {**config, "disable": list(disabled)}


class Registry(Table):
    """Where images of a registry are pulled from."""

    endpoints: tuple[Endpoint, ...] = Field(
        min_length=1, description="mirrors, asked in this order before the registry itself"
    )
    insecure: bool = Field(False, description="do not check the mirrors' certificates")


class K3s(Table):
    """Which K3s, from where, and its configuration."""

    source: Literal["release", "file", "standin", "none"] = Field(
        "release",
        description="'release': official "
        "assets; 'file': --k3s PATH or `path`; 'standin': the test program of builder/standin; "
        "'none': an image without K3s, which drops the [k3s] of included recipes",
    )
    version: str = Field(
        "v1.35.0+k3s1", pattern=r"^v\d+\.\d+\.\d+(-[\w.]+)?\+k3s\d+$", description="release tag"
    )
    url: str = Field(
        "https://github.com/k3s-io/k3s/releases/download",
        pattern=r"^https?://\S+$",
        description="base URL of the releases",
    )
    path: Path | None = Field(None, description="the binary, for source = 'file'")
    sha256: dict[ArchKey, Sha256] = Field(
        default_factory=dict, description="pinned sha256 of the binary by architecture"
    )
    role: Literal["server", "agent"] = Field(
        "server", description="default role of a gateway; provisioning may change it"
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="labels that the node registers with"
    )
    taints: tuple[Taint, ...] = Field((), description="taints that the node registers with")
    registries: dict[RegistryName, Registry] = Field(
        default_factory=dict, description="mirrors by registry, for K3s and for containerd"
    )
    airgap: tuple[Component, ...] = Field(
        (),
        description="packaged components whose images come along, out of the release's air-gap "
        "archive; those of others are pulled",
    )
    airgap_sha256: dict[ArchKey, Sha256] = Field(
        default_factory=dict,
        description="pinned sha256 of the release's air-gap archive (.tar.zst) by architecture",
    )
    disabled_kinds: Literal["deny", "warn", "allow"] = Field(
        "deny",
        description="what the API server does with objects that need a part which [k3s.config] "
        "turns off: a NetworkPolicy, a LoadBalancer, an Ingress or a volume claim without a class",
    )
    hardening: Literal["off", "cis"] = Field(
        "off",
        description="'cis': options by K3s' CIS hardening guide: Pod Security, encrypted Secrets, "
        "an audit log; 'off' by default, as its memory is not measured",
    )
    config: Annotated[dict[OptionName, ConfigValue], AfterValidator(_enabled)] = Field(
        default_factory=dict, description="written to /etc/rancher/k3s/config.yaml"
    )

    @property
    def is_absent(self) -> bool:
        """The image has no K3s, and with it no containerd and no pods."""
        return self.source == "none"

    @property
    def takes_airgap_release(self) -> bool:
        """Images of components come from a release. The stand-in brings its own."""
        return bool(self.airgap) and self.source in ("release", "file")

    @model_validator(mode="after")
    def _configures_what_runs(self) -> Self:
        if self.is_absent:
            defaults = type(self)()
            names = [
                name
                for name in type(self).model_fields
                if name != "source" and getattr(self, name) != getattr(defaults, name)
            ]
            if names:
                raise ValueError(
                    f"source = 'none' is an image without K3s: leave out {', '.join(names)}"
                )
        return self

    @model_validator(mode="after")
    def _brings_what_runs(self) -> Self:
        disabled = self.config.get("disable", [])
        names = disabled.split(",") if isinstance(disabled, str) else disabled
        for name in self.airgap:
            if isinstance(names, list) and name in names:
                raise ValueError(f"airgap has {name}, which `disable` in [k3s.config] turns off")
        return self

    @model_validator(mode="after")
    def _is_as_hard_as_it_says(self) -> Self:
        wrong = list(conflicts(self.config)) if self.hardening == "cis" else []
        if wrong:
            lines = "; ".join(f"config.{line}" for line in wrong)
            raise ValueError(f'{lines}: remove it, or hardening = "cis"')
        return self
