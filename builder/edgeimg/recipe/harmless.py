"""What K3s' configuration may say on a config partition without the recipe's consent.

`HARMLESS` lists options that start no program, read no file, fetch nothing and open nothing. Their
values are extended regular expressions (POSIX) without intervals, which awk matches on the gateway
and Python on the desk.
"""

from __future__ import annotations

from dataclasses import dataclass

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
