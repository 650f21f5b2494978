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
    """Objects that need one part of K3s."""

    name: str
    part: str
    """Name in `disable`, or the option that turns the part off."""
    group: str
    resource: str
    operations: tuple[str, ...] = ("CREATE",)
    allowed: str = "false"
    """CEL: an object that does not need the part."""
    effect: str
    """What is missing on the gateway."""

    @property
    def is_component(self) -> bool:
        """Whether `disable` names it."""
        return not self.part.startswith("disable-")

    @property
    def message(self) -> str:
        """For whoever makes such an object."""
        cure = (
            f"take {self.part!r} off `disable`" if self.is_component else f"set {self.part} = false"
        )
        return f"{self.effect}: {cure} in [k3s.config] of the gateway's recipe"


_KINDS = (
    _Kind(
        name="networkpolicies",
        part="disable-network-policy",
        group="networking.k8s.io",
        resource="networkpolicies",
        effect="this gateway does not enforce network policies",
    ),
    _Kind(
        name="loadbalancers",
        part="servicelb",
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
        part="traefik",
        group="networking.k8s.io",
        resource="ingresses",
        allowed="has(object.spec.ingressClassName) || (has(object.metadata.annotations) && "
        "'kubernetes.io/ingress.class' in object.metadata.annotations)",
        effect="this gateway has no ingress controller",
    ),
    _Kind(
        name="claims",
        part="local-storage",
        group="",
        resource="persistentvolumeclaims",
        # A default class has been filled in before.
        allowed="has(object.spec.storageClassName) || has(object.spec.volumeName)",
        effect="this gateway makes no volumes for claims without a storage class",
    ),
)


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
    """The names in `disable`, and the options that turn a part off."""
    names: set[str] = set()
    for key, value in config.items():
        option = key.rstrip("+")
        if option == "disable":
            listed = value if isinstance(value, list | tuple) else str(value).split(",")
            names |= {str(name).strip() for name in listed}
        elif str(value).lower() == "true":
            names.add(option)
    return frozenset(names)


def _policy(kind: _Kind, k3s: K3s) -> tuple[dict[str, object], dict[str, object]]:
    off = kind.part in disabled(k3s.config) and k3s.disabled_kinds != "allow"
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
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [
                {
                    "expression": kind.allowed if off else "true",
                    "message": kind.message,
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
            "validationActions": ["Warn" if k3s.disabled_kinds == "warn" else "Deny"],
        },
    }
    return policy, binding
