"""Objects that need a part of K3s which [k3s.config] turns off: admission policies against them.

Kubernetes accepts such an object, and nothing ever happens to it: a NetworkPolicy is not enforced,
a volume claim stays pending. ValidatingAdmissionPolicy, admissionregistration.k8s.io/v1, refuses it
with the key of the recipe that turns the part on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgeimg.recipe.k3s import K3s

_API = "admissionregistration.k8s.io/v1"
_PART_OF = {"app.kubernetes.io/managed-by": "edgeimg"}


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """Objects that need parts of K3s."""

    name: str
    parts: tuple[str, ...]
    """Names in `disable`, or options that turn a part off."""
    group: str
    resource: str
    operations: tuple[str, ...] = ("CREATE",)
    allowed: str = "false"
    """CEL: an object that does not need the parts."""
    effect: str
    """What is missing on the gateway."""
    certain: bool = True
    """Whether nothing else can serve such an object. Otherwise there is only a warning."""

    def message(self, off: frozenset[str]) -> str:
        """For whoever makes such an object; `off` are the parts that are turned off."""
        cures = " and ".join(_cure(part) for part in self.parts if part in off or not off)
        return f"{self.effect}: {cures} in [k3s.config] of the gateway's recipe"


def _cure(part: str) -> str:
    return f"set {part} = false" if part.startswith("disable-") else f"take {part!r} off `disable`"


_KINDS = (
    _Kind(
        name="networkpolicies",
        parts=("disable-network-policy",),
        group="networking.k8s.io",
        resource="networkpolicies",
        effect="this gateway does not enforce network policies",
    ),
    _Kind(
        name="loadbalancers",
        parts=("servicelb",),
        group="",
        resource="services",
        operations=("CREATE", "UPDATE"),
        # An existing one stays what it is, so that it can be changed and deleted.
        allowed="object.spec.type != 'LoadBalancer' || has(object.spec.loadBalancerClass) || "
        "(oldObject != null && oldObject.spec.type == 'LoadBalancer')",
        effect="this gateway has no load balancer for services",
    ),
    _Kind(
        name="ingresses",
        parts=("traefik", "disable-helm-controller"),  # K3s installs Traefik as a chart
        group="networking.k8s.io",
        resource="ingresses",
        allowed="has(object.spec.ingressClassName) || (has(object.metadata.annotations) && "
        "'kubernetes.io/ingress.class' in object.metadata.annotations)",
        effect="this gateway has no ingress controller",
    ),
    _Kind(
        name="claims",
        parts=("local-storage",),
        group="",
        resource="persistentvolumeclaims",
        # A default class has been filled in before.
        allowed="has(object.spec.storageClassName) || has(object.spec.volumeName) || "
        "has(object.spec.selector)",
        effect="this gateway makes no volumes for claims without a storage class",
        certain=False,  # a PersistentVolume without a class may fit
    ),
)
_ELSEWHERE = {
    "matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
    ]
}
"""Namespaces but that of K3s' own components, which make what they need."""


def manifest(k3s: K3s) -> bytes:
    """The policies and their bindings, in JSON, which every YAML reader takes.

    K3s keeps objects whose manifest is gone, so an image with all parts has policies, too: they
    allow everything, and replace those of an earlier version.
    """
    objects = [item for kind in _KINDS for item in _policy(kind, k3s)]
    return "".join(
        f"---\n{json.dumps(item, indent=1, sort_keys=True)}\n" for item in objects
    ).encode()


def disabled(config: Mapping[str, object]) -> frozenset[str]:
    """The names in `disable`, and the options that turn a part off, as K3s reads them."""
    names: set[str] = set()
    for key, value in config.items():
        option = key.rstrip("+")
        if option == "disable":
            listed = value if isinstance(value, list | tuple) else [value]
            names |= {name.strip() for item in listed for name in str(item).split(",")}
        elif str(value).lower() in ("true", "t", "1"):
            names.add(option)
    return frozenset(names)


def _policy(kind: _Kind, k3s: K3s) -> tuple[dict[str, object], dict[str, object]]:
    off = disabled(k3s.config).intersection(kind.parts)
    refused = off and k3s.disabled_kinds != "allow"
    warns = k3s.disabled_kinds == "warn" or not kind.certain
    metadata = {"name": f"edgeimg-{kind.name}", "labels": _PART_OF}
    rule = {
        "apiGroups": [kind.group],
        "apiVersions": ["v1"],
        "resources": [kind.resource],
        "operations": list(kind.operations),
    }
    policy: dict[str, object] = {
        "apiVersion": _API,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": _ELSEWHERE},
            "validations": [
                {
                    "expression": kind.allowed if refused else "true",
                    "message": kind.message(off),
                    "reason": "Forbidden",
                }
            ],
        },
    }
    binding: dict[str, object] = {
        "apiVersion": _API,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": {
            "policyName": metadata["name"],
            "validationActions": ["Warn" if warns else "Deny"],
        },
    }
    return policy, binding
