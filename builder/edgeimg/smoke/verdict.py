"""The conditions of a guest to pass, as pure functions of its reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from edgeimg.text.json_text import Json, JsonObject

MIN_AVAILABLE_KIB = 32 * 1024
"""Free memory that the guest needs when the pod runs: below 24 MiB the kubelet evicts pods."""
STAGES = ("userland", "containerd", "k3s", "node", "pod", "http")
"""The checker's stages, in their order (overlays/base/usr/lib/edgeimg/report)."""
AGENT_STAGES = STAGES[:3]
"""Those of an agent. Joining is not tested, because there is no server."""
SETTLED = "settled"
PLAIN_STAGES = (STAGES[0], SETTLED)
"""Those of a guest without K3s: its userland, and all units and services that start with it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One expectation and whether it holds."""

    name: str
    failure: str = ""
    """The actual value in place of the expected one; empty when it passes."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An event: seconds of the guest's clock, and seconds since power-on or restart."""

    name: str
    uptime: float
    elapsed: float


class Sample(NamedTuple):
    """Memory in use at a moment: seconds of the guest's clock, MiB. JSON: `[12.5, 84]`."""

    uptime: float
    used: int


@dataclass(frozen=True, kw_only=True)
class Boot:
    """One boot: its stages, and the checker's report, empty when none came."""

    stages: tuple[Stage, ...] = ()
    samples: tuple[Sample, ...] = ()
    """Every five seconds or so, and at each stage, until the report."""
    report: JsonObject = field(default_factory=dict)
    problem: str = ""
    """Why the boot did not get to its report."""


def judge(boot: Boot, *, k3s: bool = True) -> tuple[Check, ...]:
    """Every expectation of one boot; `k3s` is false for an image without K3s."""
    reached = {stage.name for stage in boot.stages}
    agent = boot.report.get("role") == "agent"
    expected = PLAIN_STAGES if not k3s else AGENT_STAGES if agent else STAGES
    missing = next((stage for stage in expected if stage not in reached), "")
    failure = boot.problem or (f"never reached '{missing}'" if missing else "")
    checks = [Check(name="all stages reached", failure=failure)]
    if boot.report:
        checks += _services(boot.report, k3s=k3s) + _memory(boot.report)
        if not k3s:
            checks += _plain(boot.report)
        else:
            checks += _agent(boot.report) if agent else _kubernetes(boot.report)
    return tuple(checks)


def is_settled(report: JsonObject) -> bool:
    """Whether nothing is starting any more, neither units nor services (systemctl(1))."""
    services = report.get("services") or ()
    return report.get("system_state") not in ("initializing", "starting") and not any(
        service.get("state") in ("activating", "reloading") for service in services
    )


def compare(first: JsonObject, second: JsonObject, *, k3s: bool = True) -> tuple[Check, ...]:
    """Values that must be equal after a restart, and values that must differ."""
    checks = [
        _equal(f"same {label} after the restart", first, second, path)
        for label, path in (
            ("machine ID", ("machine_id_sha256",)),
            ("node", ("node", "uid")),
            ("pod", ("pod", "uid")),
            ("image version", ("image_version",)),
            *((("data in the volume", ("volume",)),) if "volume" in first else ()),
        )
        if (k3s and first.get("role") != "agent") or path[0] not in ("node", "pod", "volume")
    ]
    again = first.get("boot_id") == second.get("boot_id")
    checks.append(Check(name="it did restart", failure="the boot ID is the same" if again else ""))
    return tuple(checks)


def _services(report: JsonObject, *, k3s: bool) -> list[Check]:
    units = report.get("failed_units")
    logs = "; ".join(report.get("failed_logs") or ())
    return [
        Check(
            name="no failed unit",
            failure="" if units == [] else f"failed: {', '.join(units or ['unknown'])}. {logs}",
        ),
        *([_expect("containerd runs", report.get("containerd"), "active")] if k3s else ()),
        *(_container(service) for service in report.get("services") or ()),
    ]


def _container(service: JsonObject) -> Check:
    """A service that starts with the gateway runs, and answers its health check if it has one."""
    state, health = service.get("state"), service.get("health")
    failure = "" if state == "active" else f"it is {state}"
    if health == "failing":
        failure = "it does not answer its health check"
    if not service.get("at_boot") and state == "inactive":
        failure = ""
    return Check(name=f"service {service.get('name')} runs", failure=failure)


def _plain(report: JsonObject) -> list[Check]:
    """A guest without K3s has started, and K3s is not in it."""
    inside = report.get("k3s_image")
    return [
        _expect("the system runs", report.get("system_state"), "running"),
        Check(
            name="the image has no K3s",
            failure=f"found {inside.get('version') or 'one'}" if inside else "",
        ),
    ]


def _agent(report: JsonObject) -> list[Check]:
    """It runs, or waits for its server (`activating` in systemd) or for its provisioning."""
    state = report.get("k3s")
    well = state in ("active", "activating", "waiting")
    failure = "" if well else f"expected active, activating or waiting, found {state or 'nothing'}"
    return [Check(name="K3s runs or waits for its server", failure=failure)]


def _kubernetes(report: JsonObject) -> list[Check]:
    node, pod = report.get("node") or {}, report.get("pod") or {}
    in_image = (report.get("k3s_image") or {}).get("version") or "nothing"
    running = report.get("kubelet_version") or "nothing"
    # The build metadata may differ: Kubernetes names itself, K3s adds to it.
    same_version = in_image.partition("+")[0] == running.partition("+")[0]
    return [
        _expect("K3s runs", report.get("k3s"), "active"),
        Check(
            name="K3s is the image's version",
            failure="" if same_version else f"the image holds {in_image}, {running} runs",
        ),
        _expect("node is Ready", node.get("ready"), "True"),
        _expect("node's state is of this boot", node.get("current"), True),
        _expect("pod is Running", pod.get("phase"), "Running"),
        Check(
            name="pod answers on its address",
            failure="" if report.get("http") else f"no HTTP answer from {pod.get('ip') or 'it'}",
        ),
        *_components(report),
    ]


def _components(report: JsonObject) -> list[Check]:
    """Those of K3s' components that the image has work. The guest reports on these only."""
    checks = []
    if "dns" in report:
        failure = "" if report["dns"] else "no address for kubernetes.default.svc.cluster.local"
        checks.append(Check(name="names resolve in a pod", failure=failure))
    if "volume" in report:
        failure = "" if report["volume"] else "no answer from the pod with the claim"
        checks.append(
            Check(name="a claim is bound, and a pod writes to its volume", failure=failure)
        )
    return checks


def _memory(report: JsonObject) -> list[Check]:
    available = (report.get("memory_kib") or {}).get("available", 0)
    enough = available >= MIN_AVAILABLE_KIB
    failure = "" if enough else f"{available // 1024} MiB left, expected {MIN_AVAILABLE_KIB >> 10}"
    return [Check(name="memory is enough", failure=failure)]


def _expect(name: str, actual: object, expected: object) -> Check:
    failure = "" if actual == expected else f"expected {expected}, found {actual or 'nothing'}"
    return Check(name=name, failure=failure)


def _equal(name: str, first: JsonObject, second: JsonObject, path: tuple[str, ...]) -> Check:
    before: Json = first
    after: Json = second
    for part in path:
        before, after = (before or {}).get(part), (after or {}).get(part)
    is_equal = before == after and before
    return Check(name=name, failure="" if is_equal else f"was {before}, is {after}")
