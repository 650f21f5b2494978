"""Files of the root for [k3s] hardening = "cis": admission, audit policy, the log's directory.

YAML files are written as JSON, which every YAML reader takes.
"""

from __future__ import annotations

import json

from edgeimg.recipe import hardening
from edgeimg.tree import Node, file

_TMPFILES = "usr/lib/tmpfiles.d/edgeimg-hardening.conf"
_EXEMPT = ("kube-system",)
"""Namespaces that no level is enforced in: K3s' own components."""
_CONTROL_PLANE = (
    "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler",
    "system:k3s-controller", "system:k3s-supervisor",
)  # fmt: skip
_PARTS = ("system:nodes", "system:serviceaccounts:kube-system")
_READ = ("get", "list", "watch")


def nodes() -> dict[str, Node]:
    """The files, by path."""
    return {
        hardening.ADMISSION: _yaml(admission()),
        hardening.AUDIT: _yaml(audit_policy()),
        _TMPFILES: file(_directories().encode()),
    }


def admission() -> dict[str, object]:
    """Defaults of Pod Security for namespaces without labels of their own, and a limit of events.

    AdmissionConfiguration, apiserver.config.k8s.io/v1.
    """
    levels = {"enforce": "baseline", "audit": "restricted", "warn": "restricted"}
    pods = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {**levels, **{f"{mode}-version": "latest" for mode in levels}},
        "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": [*_EXEMPT]},
    }
    events = {
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
        "kind": "Configuration",
        "limits": [{"type": "Server", "qps": 50, "burst": 100}],
    }
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [
            {"name": "PodSecurity", "configuration": pods},
            {"name": "EventRateLimit", "configuration": events},
        ],
    }


def audit_policy() -> dict[str, object]:
    """Who changed what, who read secrets, who went into a pod; not what a cluster at rest does.

    The first rule that fits decides (audit.k8s.io/v1, Policy). Bodies are never written: they
    would hold secrets.
    """
    secrets = [
        {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
        {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
    ]
    inside = ["exec", "attach", "portforward", "proxy"]
    into_pods = [
        {"group": "", "resources": [*(f"pods/{one}" for one in inside), "nodes/proxy",
                                    "services/proxy", "pods/ephemeralcontainers"]}
    ]  # fmt: skip
    beats: list[dict[str, object]] = [
        {"group": "coordination.k8s.io", "resources": ["leases"]},
        {"group": "", "resources": ["events", "*/status"]},
        {"group": "apps", "resources": ["*/status"]},
        {"group": "events.k8s.io", "resources": ["events"]},
    ]
    rules: list[dict[str, object]] = [
        {"level": "None", "resources": beats},
        {"level": "None", "users": [*_CONTROL_PLANE], "verbs": [*_READ]},
        {"level": "None", "userGroups": [*_PARTS], "verbs": [*_READ]},
        {"level": "Metadata", "resources": [*secrets, *into_pods]},
        {"level": "None", "verbs": [*_READ]},
        {"level": "Metadata"},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    }


def _directories() -> str:
    """tmpfiles.d(5): the log is for root alone, also before K3s has made its directories."""
    log = hardening.AUDIT_LOG.rpartition("/")[0]
    parts = log.split("/")
    above = ["/".join(parts[:count]) for count in range(3, len(parts))]
    modes = {path: "0700" if path.endswith("/server") else "0755" for path in above}
    lines = [f"d /{path} {mode} root root" for path, mode in {**modes, log: "0700"}.items()]
    return "".join(f"{line}\n" for line in lines)


def _yaml(content: dict[str, object]) -> Node:
    return file(f"{json.dumps(content, indent=1)}\n".encode(), mode=0o600)
