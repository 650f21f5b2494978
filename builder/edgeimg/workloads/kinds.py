"""Kinds of Kubernetes' own objects: misspelt ones, and those whose API version is gone.

https://kubernetes.io/docs/reference/using-api/deprecation-guide/
"""

from __future__ import annotations

import difflib

_KINDS = {
    "v1": ("ConfigMap", "Endpoints", "LimitRange", "Namespace", "Node", "PersistentVolume",
           "PersistentVolumeClaim", "Pod", "PodTemplate", "ReplicationController",
           "ResourceQuota", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "batch/v1": ("CronJob", "Job"),
    "networking.k8s.io/v1": ("Ingress", "IngressClass", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
}  # fmt: skip
"""Of each API version, those that people write."""
_PLACES = {kind: version for version, kinds in _KINDS.items() for kind in kinds}
_GONE = (
    "extensions/v1beta1", "apps/v1beta1", "apps/v1beta2", "autoscaling/v2beta1",
    "autoscaling/v2beta2", "batch/v1beta1", "networking.k8s.io/v1beta1", "policy/v1beta1",
    "rbac.authorization.k8s.io/v1beta1",
)  # fmt: skip


def fault(version: str, kind: str) -> str | None:
    """Why Kubernetes has no such object; None where it may have it, or an operator."""
    place = _PLACES.get(kind)
    if place and version in _GONE:
        return f"Kubernetes has no {kind} of {version} any more: expected apiVersion: {place}"
    if version not in _KINDS or kind.endswith("List") or place == version:
        return None
    if place:
        return f"{version} has no {kind}: expected apiVersion: {place}"
    close = [name for name in _KINDS[version] if name.lower() == kind.lower()] or (
        difflib.get_close_matches(kind, _KINDS[version], n=1, cutoff=0.8)
    )
    return f"{version} has no {kind!r}; did you mean '{close[0]}'?" if close else None
