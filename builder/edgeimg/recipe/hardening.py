"""[k3s] hardening: options of K3s by its CIS hardening guide, and what a recipe may change of them.

https://docs.k3s.io/security/hardening-guide. docs/how-to/hardening.md has the controls, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

DIRECTORY = "usr/share/edgeimg/k3s"
ADMISSION = f"{DIRECTORY}/admission.yaml"
AUDIT = f"{DIRECTORY}/audit.yaml"
AUDIT_LOG = "var/lib/rancher/k3s/server/logs/audit.log"
OPTIONS: dict[str, object] = {"protect-kernel-defaults": True, "secrets-encryption": True}
"""Options that are on or off."""
_CIPHERS = (
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
)  # fmt: skip
ADMITTED = "enable-admission-plugins"
FIXED: dict[str, dict[str, str]] = {
    "kube-apiserver-arg": {
        "admission-control-config-file": f"/{ADMISSION}",
        "audit-policy-file": f"/{AUDIT}",
        "audit-log-path": f"/{AUDIT_LOG}",
        "service-account-extend-token-expiration": "false",
    },
}
"""Flags of the programs in K3s: a recipe that gives another value is refused."""
CHOSEN: dict[str, dict[str, str]] = {
    "kube-apiserver-arg": {
        # At most 22 MB on the data partition.
        "audit-log-maxage": "30",
        "audit-log-maxbackup": "10",
        "audit-log-maxsize": "2",
    },
    "kube-controller-manager-arg": {"terminated-pod-gc-threshold": "100"},
    "kubelet-arg": {
        "streaming-connection-idle-timeout": "5m",
        "tls-cipher-suites": ",".join(_CIPHERS),
        "pod-max-pids": "1024",
    },
}
"""Flags whose value the benchmark leaves to whom it may concern: that of a recipe wins."""
PLUGINS = ("NodeRestriction", "EventRateLimit")
"""Admission plugins, beside those that Kubernetes enables by itself."""
_KEPT = ("NodeRestriction", "EventRateLimit", "PodSecurity", "ServiceAccount", "NamespaceLifecycle")
"""Admission plugins that a recipe must not disable."""
_BY_DEFAULT: dict[str, dict[str, str]] = {
    "kube-apiserver-arg": {"anonymous-auth": "false", "profiling": "false"},
    "kube-controller-manager-arg": {"profiling": "false"},
    "kube-scheduler-arg": {"profiling": "false"},
    "kubelet-arg": {
        "anonymous-auth": "false",
        "authorization-mode": "Webhook",
        "read-only-port": "0",
        "protect-kernel-defaults": "true",
    },
}
"""What K3s does by itself, and a recipe must not undo."""


def conflicts(config: Mapping[str, object]) -> Iterator[str]:
    """What [k3s.config] says against the guide, a line each: the key, and what is expected."""
    for name, value in OPTIONS.items():
        for key in (name, f"{name}+"):
            if key in config and _text(config[key]) != _text(value):
                yield f"{key}: expected {_text(value)}"
    for name in sorted({*FIXED, *CHOSEN, *_BY_DEFAULT}):
        wanted = {**FIXED.get(name, {}), **_BY_DEFAULT.get(name, {})}
        for key in (name, f"{name}+"):
            for flag, value in _flags(config.get(key, ())):
                if flag in wanted and value != wanted[flag]:
                    yield f"{key}: {flag}: expected {wanted[flag]}"
                if flag == "disable-admission-plugins" and set(value.split(",")) & set(_KEPT):
                    yield f"{key}: {flag}: expected none of {', '.join(_KEPT)}"
                if name == "kube-apiserver-arg" and "AlwaysAllow" in value.split(","):
                    yield f"{key}: {flag}: expected Node,RBAC, which K3s sets"


def merged(config: Mapping[str, object]) -> dict[str, object]:
    """[k3s.config] with the options of the guide: flags of the recipe come last and win.

    Admission plugins of both are enabled.
    """
    options: dict[str, object] = {**config, **OPTIONS}
    for name in sorted({*FIXED, *CHOSEN}):
        # A key with "+" in K3s' first file is as one without.
        key = f"{name}+" if f"{name}+" in config and name not in config else name
        flags = list(_flags(config.get(key, ())))
        ours = {**FIXED.get(name, {}), **CHOSEN.get(name, {})}
        if name == "kube-apiserver-arg":
            more = [one for flag, value in flags if flag == ADMITTED for one in value.split(",")]
            flags = [(flag, value) for flag, value in flags if flag != ADMITTED]
            ours = {ADMITTED: ",".join(dict.fromkeys([*PLUGINS, *more])), **ours}
        names = {flag for flag, _ in flags}
        left = [(flag, value) for flag, value in ours.items() if flag not in names]
        options[key] = [f"{flag}={value}" if value else flag for flag, value in [*left, *flags]]
    return options


def _flags(value: object) -> Iterator[tuple[str, str]]:
    """Flags and their values: `max-pods=16`, with or without dashes before them."""
    for text in value if isinstance(value, list | tuple) else (value,):
        flag, _, rest = str(text).partition("=")
        yield flag.lstrip("-"), rest


def _text(value: object) -> str:
    return str(value).lower()
