"""[provision]: what a gateway takes from its config partition, which anybody with the card writes.

`HARMLESS` is what K3s' configuration may say there without the recipe's consent: options that
start no program, read no file, fetch nothing and open nothing. The image carries the same table
(`table`), so that the gateway and `edgeimg provision` go by one list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from edgeimg.recipe.types import OverlayPath
from edgeimg.text.validation import Table

PASS_THROUGH = "-arg"  # noqa: S105
"""Options whose name ends so hand options to another program: 'kubelet-arg'."""
SCRIPT = "script"
_EVERYTHING = ".*"
_ALLOWED = re.compile(
    r"script|k3s\.(\*|[a-z][a-z0-9-]*(?<!-arg)|[a-z][a-z0-9-]*-arg\.(\*|[a-z][a-z0-9-]*))"
)
_FLAG = re.compile("[a-z][a-z0-9-]*")
_V4 = r"[0-9][0-9]?[0-9]?\.[0-9][0-9]?[0-9]?\.[0-9][0-9]?[0-9]?\.[0-9][0-9]?[0-9]?"
V6 = "[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+"
PORT = (
    "6553[0-5]|655[0-2][0-9]|65[0-4][0-9][0-9]|6[0-4][0-9][0-9][0-9]"
    "|[1-5][0-9][0-9][0-9][0-9]|[1-9][0-9]?[0-9]?[0-9]?"
)
"""As extended regular expressions (POSIX), without intervals, like `Option.values`."""
_IP = f"({_V4}|{V6})"
_NET = f"({_V4}/[0-9][0-9]?|{V6}/[0-9][0-9]?[0-9]?)"
_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
_LABEL = f"([a-z0-9][a-z0-9.-]*/)?{_NAME}"
_DURATION = "([0-9]+(h|ms|m|s))+"
_PERCENT = "(100|[0-9][0-9]?)"
_NUMBER = "[0-9][0-9]?[0-9]?[0-9]?[0-9]?[0-9]?"
_BOOL = "(true|false)"
_QUANTITY = "[0-9]+([.][0-9]+)?(m|k|M|G|Ki|Mi|Gi)?"
_SIGNAL = "(memory|nodefs|imagefs|containerfs|pid|allocatableMemory)[.](available|inodesFree)"
_RESOURCE = "(cpu|memory|ephemeral-storage|pid)"


def _list(item: str) -> str:
    return f"{item}(,{item})*"


_THRESHOLD = f"({_QUANTITY}|{_PERCENT}([.][0-9]+)?%)"
_THRESHOLDS = _list(f"{_SIGNAL}<{_THRESHOLD}")
_RESERVED = _list(f"{_RESOURCE}={_QUANTITY}")


@dataclass(frozen=True, kw_only=True)
class Option:
    """A harmless option, and its harmless values."""

    values: str
    """A whole value, as an extended regular expression (POSIX), without intervals `{m,n}`: it is
    matched by awk on the gateway and by Python on the desk."""
    expected: str
    """The end of "expected …"."""
    server: bool = False
    """Only servers have it."""


def _words(*words: str) -> str:
    return f"({'|'.join(words)})"


def _numbers(*names: str) -> dict[str, Option]:
    return {name: Option(values=_NUMBER, expected="a number") for name in names}


def _durations(*names: str) -> dict[str, Option]:
    return {name: Option(values=_DURATION, expected="a time such as '30s'") for name in names}


def _switches(*names: str) -> dict[str, Option]:
    return {name: Option(values=_BOOL, expected="true or false") for name in names}


def _percents(*names: str) -> dict[str, Option]:
    return {name: Option(values=_PERCENT, expected="a percentage, 0 to 100") for name in names}


def _for_servers(options: dict[str, Option]) -> dict[str, Option]:
    return {
        name: Option(values=option.values, expected=option.expected, server=True)
        for name, option in options.items()
    }


# The kubelet writes what it is asked, with tokens, into its log from 6 on.
_VERBOSITY = {"v": Option(values="[0-5]", expected="a number, 0 to 5")}
_KUBELET = {
    **_VERBOSITY,
    **_numbers(
        "container-log-max-files", "event-burst", "event-qps", "eviction-max-pod-grace-period",
        "max-open-files", "max-pods", "pods-per-core", "pod-max-pids", "registry-burst",
        "registry-qps",
    ),
    **_durations(
        "cpu-cfs-quota-period", "cpu-manager-reconcile-period",
        "eviction-pressure-transition-period", "minimum-image-ttl-duration",
        "node-status-update-frequency", "runtime-request-timeout",
        "streaming-connection-idle-timeout", "sync-frequency", "volume-stats-agg-period",
    ),
    **_percents("image-gc-high-threshold", "image-gc-low-threshold"),
    **_switches("cpu-cfs-quota", "fail-swap-on", "serialize-image-pulls"),
    "container-log-max-size": Option(values=_QUANTITY, expected="a size such as '10Mi'"),
    "cpu-manager-policy": Option(values=_words("none", "static"), expected="none or static"),
    "topology-manager-policy": Option(
        values=_words("none", "best-effort", "restricted", "single-numa-node"),
        expected="none, best-effort, restricted or single-numa-node",
    ),
    "eviction-hard": Option(values=_THRESHOLDS, expected="'memory.available<100Mi,…'"),
    "eviction-soft": Option(values=_THRESHOLDS, expected="'memory.available<200Mi,…'"),
    "eviction-soft-grace-period": Option(
        values=_list(f"{_SIGNAL}={_DURATION}"), expected="'memory.available=1m30s,…'"
    ),
    "eviction-minimum-reclaim": Option(
        values=_list(f"{_SIGNAL}={_THRESHOLD}"), expected="'nodefs.available=500Mi,…'"
    ),
    "kube-reserved": Option(values=_RESERVED, expected="'cpu=100m,memory=200Mi'"),
    "system-reserved": Option(values=_RESERVED, expected="'cpu=100m,memory=200Mi'"),
    "node-ip": Option(values=_list(_IP), expected="an address, or two with a comma"),
}  # fmt: skip
_KUBE_PROXY = {
    **_VERBOSITY,
    **_numbers("conntrack-max-per-core", "conntrack-min"),
    **_durations(
        "config-sync-period", "conntrack-tcp-timeout-close-wait",
        "conntrack-tcp-timeout-established", "conntrack-udp-timeout", "iptables-min-sync-period",
        "iptables-sync-period",
    ),
    "proxy-mode": Option(values=_words("iptables", "nftables"), expected="iptables or nftables"),
    "nodeport-addresses": Option(values=_list(_NET), expected="networks, with commas"),
}  # fmt: skip
_APISERVER = {
    **_VERBOSITY,
    **_numbers(
        "default-not-ready-toleration-seconds", "default-unreachable-toleration-seconds",
        "max-mutating-requests-inflight", "max-requests-inflight", "min-request-timeout",
    ),
    **_durations("event-ttl", "request-timeout"),
    **_switches("watch-cache"),
}  # fmt: skip
_TOKEN = Option(values="[^ ]+", expected="a token, without spaces")
HARMLESS: dict[str, Option] = {
    "role": Option(values=_words("server", "agent"), expected="server or agent"),
    "server": Option(
        values=rf"https://(\[{V6}\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:({PORT}))?/?",
        expected="an address such as https://10.0.0.1:6443",
    ),
    "token": _TOKEN,
    "node-name": Option(values="[a-z0-9]([a-z0-9.-]*[a-z0-9])?", expected="a name"),
    "node-label": Option(values=f"{_LABEL}=({_NAME})?", expected="'KEY=VALUE'"),
    "node-taint": Option(
        values=f"{_LABEL}(=({_NAME})?)?:(NoSchedule|PreferNoSchedule|NoExecute)",
        expected="'KEY=VALUE:EFFECT'",
    ),
    "node-ip": Option(values=_list(_IP), expected="an address, or two with a comma"),
    "node-external-ip": Option(values=_list(_IP), expected="an address, or two with a comma"),
    "flannel-iface": Option(values="[A-Za-z0-9][A-Za-z0-9_.-]*", expected="the name of a card"),
    "resolv-conf": Option(
        values="/etc/resolv.conf|/run/systemd/resolve/(stub-)?resolv.conf",
        expected="/etc/resolv.conf or /run/systemd/resolve/resolv.conf",
    ),
    **_switches("debug"),
    **{f"kubelet-arg.{name}": option for name, option in _KUBELET.items()},
    **{f"kube-proxy-arg.{name}": option for name, option in _KUBE_PROXY.items()},
    **_for_servers({
        "agent-token": _TOKEN,
        "tls-san": Option(
            values=f"{_list(f'({_IP}|{_NAME})')}", expected="names or addresses, with commas"
        ),
        **_switches("cluster-init"),
        "cluster-cidr": Option(values=_list(_NET), expected="a network: '10.42.0.0/16'"),
        "service-cidr": Option(values=_list(_NET), expected="a network: '10.43.0.0/16'"),
        "cluster-dns": Option(values=_list(_IP), expected="an address"),
        "cluster-domain": Option(values=_NAME, expected="a domain: 'cluster.local'"),
        "service-node-port-range": Option(
            values=f"({PORT})[:-]({PORT})", expected="ports: '30000-32767'"
        ),
        "flannel-backend": Option(
            values=_words("none", "vxlan", "host-gw", "wireguard-native"),
            expected="none, vxlan, host-gw or wireguard-native",
        ),
        "advertise-address": Option(values=_IP, expected="an address"),
        "bind-address": Option(values=_IP, expected="an address"),
        "https-listen-port": Option(
            values=PORT, expected="a port"
        ),
        "disable": Option(
            values=_list("[a-z0-9][a-z0-9.-]*"), expected="names of packaged components"
        ),
        "secrets-encryption": Option(values="true", expected="true"),
        **{f"kube-apiserver-arg.{name}": option for name, option in _APISERVER.items()},
    }),
}  # fmt: skip
"""Options of k3s.yaml by name; those of other programs as `kubelet-arg.max-pods`."""


def _consent(name: str) -> str:
    if not _ALLOWED.fullmatch(name):
        raise ValueError(
            "expected 'script', or options of K3s such as 'k3s.etcd-expose-metrics', "
            "'k3s.kubelet-arg.feature-gates', 'k3s.kubelet-arg.*' or 'k3s.*'"
        )
    return name


Consent = Annotated[str, AfterValidator(_consent)]


class Provisioning(Table):
    """What a gateway takes from its config partition beyond the harmless."""

    allow: tuple[Consent, ...] = Field(
        (),
        description="what else is taken: 'script' (a shell script, run as root), options of K3s "
        "such as 'k3s.kubelet-arg.feature-gates', 'k3s.kubelet-arg.*' or 'k3s.*'. With most of "
        "them, who can write to the config partition, which anybody can who holds the card, owns "
        "the gateway",
    )
    script: bool = Field(False, description="the same as 'script' in `allow`")
    key: OverlayPath | None = Field(
        None,
        description="public key file, relative to the project; gateways refuse settings that it "
        "has not signed (`edgeimg provision --sign`)",
    )

    @property
    def allowed(self) -> tuple[str, ...]:
        """All consents, sorted."""
        return tuple(sorted({*self.allow, *([SCRIPT] if self.script else [])}))


def allows(allowed: Sequence[str], name: str) -> bool:
    """Whether consents cover a name such as `k3s.kubelet-arg.feature-gates`."""
    prefixes = (one.removesuffix("*") for one in allowed if one.endswith(_EVERYTHING))
    return name in allowed or any(name.startswith(prefix) for prefix in prefixes)


def refused(option: str, value: str, allowed: Sequence[str]) -> str | None:
    """Why a card may not give this option of K3s this value; None when it may.

    The gateway decides the same with `table` (provision-k3s.awk).
    """
    name = option.removesuffix("+")
    if name.endswith(PASS_THROUGH):
        flag, _, value = value.partition("=")
        if name == option and not allows(allowed, f"k3s.{name}.*"):
            return f"expected '{name}+', which adds to what the image says"
        if not _FLAG.fullmatch(flag):
            return "expected NAME=VALUE"
        name = f"{name}.{flag}"
    if allows(allowed, f"k3s.{name}"):
        return None
    known = HARMLESS.get(name)
    if known is None:
        return f"needs the consent of the image's recipe: {consent(name)}"
    if not re.fullmatch(known.values, value):
        where = f"{name.partition('.')[2]}: " if "." in name else ""
        return f"{where}expected {known.expected}"
    return None


def consent(name: str) -> str:
    """How a recipe allows an option of K3s, or every flag of an option that hands them on."""
    if name.endswith(PASS_THROUGH) and "." not in name:
        name = f"{name}.*"
    return f'[provision] allow = ["k3s.{name}"]'


def is_known(name: str, allowed: Sequence[str]) -> bool:
    """Whether a card may say an option of K3s at all, with one value or the other."""
    passed = f"{name}."
    return (
        name in HARMLESS
        or any(one.startswith(passed) for one in HARMLESS)
        or allows(allowed, f"k3s.{name}")
        or any(one.startswith(f"k3s.{passed}") for one in allowed)
    )


def is_for_servers(name: str) -> bool:
    """Whether agents do not have this option; of those beyond `HARMLESS` nothing is known."""
    return any(option.server for one, option in HARMLESS.items() if one.partition(".")[0] == name)


def table(allowed: Sequence[str]) -> bytes:
    """The file of the root that the gateway's checks read: a line for each option and consent.

    `option NAME any|server EXPRESSION EXPECTED` and `allow NAME`, with tabs between them; the
    expression is of a whole value.
    """
    lines = [
        "\t".join(("option", name, "server" if option.server else "any",
                   f"^({option.values})$", option.expected))
        for name, option in HARMLESS.items()
    ]  # fmt: skip
    lines += [f"allow\t{name}" for name in allowed]
    return "".join(f"{line}\n" for line in lines).encode()
