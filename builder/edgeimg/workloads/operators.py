"""Objects whose pods edgeimg cannot see: charts, and custom resources with their operators.

A program in the cluster starts these pods, so no manifest names their images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from edgeimg.workloads import objects

_BUILT_IN = frozenset(
    {"", "apps", "autoscaling", "batch", "extensions", "policy", "admissionregistration.k8s.io",
     "apiextensions.k8s.io", "apiregistration.k8s.io", "authentication.k8s.io",
     "authorization.k8s.io", "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io",
     "events.k8s.io", "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io",
     "networking.k8s.io", "node.k8s.io", "rbac.authorization.k8s.io", "resource.k8s.io",
     "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io"}
)  # fmt: skip
"""API groups of Kubernetes."""
_WITHOUT_PODS = frozenset({"k3s.cattle.io", "traefik.io", "gateway.networking.k8s.io"})
"""API groups of K3s whose objects start no pods."""
_HELM = "helm.cattle.io"
_OF_SERVER = "https://%{KUBERNETES_API}%/"
"""A chart that K3s has itself (docs.k3s.io, Helm)."""


@dataclass(frozen=True, kw_only=True, order=True)
class Unseen:
    """A kind of object that may start pods of images that no manifest names."""

    kind: str
    """`Prometheus.monitoring.coreos.com`; a chart that is downloaded also has its name."""
    chart: str = ""
    """The URL from which K3s downloads the chart; empty when it does not."""


def is_built_in(version: yaml.Node | None) -> bool:
    """Whether an API version is one of Kubernetes itself."""
    return _group(version) in _BUILT_IN


def unseen(document: yaml.Node) -> Iterator[Unseen]:
    """Parts of a document that may start pods of images that it does not name."""
    for node in objects.listed(document):
        fields = objects.fields(node)
        group, kind = _group(fields.get("apiVersion")), objects.text(fields.get("kind"))
        spec = objects.fields(fields.get("spec"))
        if kind == "CustomResourceDefinition":
            defined = objects.text(objects.fields(spec.get("names")).get("kind"))
            of_group = objects.text(spec.get("group"))
            if of_group not in _WITHOUT_PODS:
                yield Unseen(kind=f"{defined}.{of_group}" if defined and of_group else kind)
        elif group == _HELM:
            yield Unseen(kind=f"{kind}.{group}")
            if kind == "HelmChart" and (source := _download(spec)):
                name = objects.text(objects.fields(fields.get("metadata")).get("name"))
                yield Unseen(kind=f"{kind}.{group}/{name}", chart=source)
        elif group not in _BUILT_IN | _WITHOUT_PODS and not any(objects.images(node, set())):
            yield Unseen(kind=f"{kind}.{group}")


def _group(version: yaml.Node | None) -> str:
    return objects.text(version).rpartition("/")[0]


def _download(spec: dict[str, yaml.Node]) -> str:
    """Where a chart comes from, unless it is in the object or on the server."""
    chart = objects.text(spec.get("chart"))
    if objects.text(spec.get("chartContent")) or chart.startswith(_OF_SERVER):
        return ""
    return objects.text(spec.get("repo")) or chart or "its repository"
