"""One guest with so much memory: does it get to a pod that answers, and stay well at rest?

Used by memory.py. What is looked at: the node, the pod and the API from this machine; memory, OOM
kills and failed units over ssh, by one process in the guest.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeimg.arch import Arch
from edgeimg.errors import EdgeimgError
from edgeimg.tools import Toolbox
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.machine import GuestLostError

from tests.bench import cluster
from tests.bench.cluster import Api
from tests.gateway import Gateway, booted, free_port

POD = "edgeimg-hello"
"""Of a server: its checker makes it. Agents have one each."""
API, KUBELET = 6443, 10250
PODS = "/api/v1/namespaces/default/pods"
TLS = "/var/lib/rancher/k3s/server/tls"
USABLE = 1000.0
"""ms; a guest that mostly takes longer to answer, at rest, is of no use."""
LOSSES = 3
_LOST = re.compile(
    r"Out of memory|out_of_memory|System is deadlocked on memory|Kernel panic"
    r"|efi_stub_entry\(\) failed|(?:X64|Synchronous|DataAbort) Exception|startup\.nsh"
    r"|Failed to start \S*k3s\.service"
)
"""On the console: nothing good comes after it."""

# Every two seconds for a while: the most memory in use. Then all that is asked for at the end.
REST = """
end=$(($(date +%s) + SECONDS)) peak=0
while [ "$(date +%s)" -lt "$end" ]; do
    while read -r field kib _; do
        case $field in MemTotal:) total=$kib ;; MemAvailable:) used=$((total - kib)); break ;; esac
    done < /proc/meminfo
    [ "$used" -le "$peak" ] || peak=$used
    sleep 2
done
read -r early < /run/edgeimg/peak
[ "$early" -le "$peak" ] || peak=$early
echo "total $total"; echo "used $used"; echo "peak $peak"
awk '$1 == "SwapTotal:" { t = $2 } $1 == "SwapFree:" { print "swapped", t - $2 }' /proc/meminfo
awk '{ print "zram", int($3 / 1024) }' /sys/block/zram0/mm_stat
awk '$1 == "oom_kill" { print }' /proc/vmstat
echo "failed $(systemctl list-units --failed --plain --no-legend --no-pager | wc -l)"
echo "restarts $(systemctl show -P NRestarts k3s.service)"
"""


class NotPassedError(Exception):
    """The guest did not do what it should; says what."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is booted; the same for every amount of memory."""

    arch: Arch
    role: str
    """`server` or `agent`."""
    raw: Path
    key: Path
    toolbox: Toolbox
    directory: Path
    tls: Path | None = None
    """Of an agent: `server/tls` of its server on this machine, which listens on `port`."""
    port: int = 0

    @property
    def node(self) -> str:
        return "gateway" if self.role == "server" else f"agent-{self.arch.name}"

    @property
    def pod(self) -> str:
        return POD if self.role == "server" else f"{POD}-{self.arch.name}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one guest did. Memory is in KiB, latencies are in milliseconds."""

    mib: int
    failure: str = ""
    """Empty when it passed."""
    seconds: float = 0.0
    """From power-on to the pod's answer."""
    facts: dict[str, int] | None = None
    """At the end: total, used, peak, swapped, zram (what that takes), oom_kill, failed, restarts"""
    latencies: tuple[float, ...] = ()
    """Of a server: its API's, listing pods. Of an agent: its kubelet's."""

    @property
    def latency(self) -> str:
        """Median, and what 95 of 100 do not exceed."""
        if len(self.latencies) < 2:
            return "-"
        most = statistics.quantiles(self.latencies, n=20)[-1]
        return f"{statistics.median(self.latencies):.0f} / {most:.0f}"


def trial(setup: Setup, mib: int, minutes: float, within: float | None = None) -> Outcome:
    """Boot a guest with `mib` of memory and leave it alone for `minutes`.

    Its pod has to answer `within` seconds (as many as are given to a smoke test's boot).
    """
    within = within or setup.arch.qemu.boot_seconds
    for _ in range(LOSSES):
        try:
            return _attempt(setup, mib, minutes, within)
        except GuestLostError:
            continue
        except (NotPassedError, EdgeimgError, AssertionError, subprocess.TimeoutExpired) as error:
            return Outcome(mib=mib, failure=" ".join(str(error).split())[:200])
    return Outcome(mib=mib, failure="the emulator lost the guest again and again")


def _attempt(setup: Setup, mib: int, minutes: float, within: float) -> Outcome:
    began = time.monotonic()
    console = setup.directory / f"{setup.role}-{setup.arch.name}-{mib}.log"
    port = free_port()
    server = setup.role == "server"
    if setup.tls is not None:
        # What an earlier agent of that name has left behind.
        agents = cluster.with_certificates(setup.port, setup.tls)
        agents.call("DELETE", f"{PODS}/{setup.pod}?gracePeriodSeconds=0")
        agents.call("DELETE", f"/api/v1/nodes/{setup.node}")
    with booted(
        setup.raw, setup.key, toolbox=setup.toolbox, console=console, arch=setup.arch,
        options=GuestOptions(
            memory=mib, cpus=2, forwards=((port, API if server else KUBELET),)
        ),
        seconds=within,
        watch=lambda: _well(console),
    ) as gateway:  # fmt: skip
        guest = Guest(gateway, console, began + within)
        api, path, asked = (_server if server else _agent)(setup, guest, port)
        guest.until("the node is Ready", lambda: api.node_is_ready(setup.node, guest.boot_id()))
        guest.until("the pod runs", lambda: api.pod(setup.pod).get("status", {}).get("podIP"))
        guest.until("the pod answers", lambda: guest.answer(api, setup.pod))
        seconds = time.monotonic() - began
        pod = api.pod(setup.pod)["metadata"]["uid"]
        facts, latencies = _rest(guest, asked, path, minutes * 60)
        outcome = Outcome(mib=mib, seconds=seconds, facts=facts, latencies=tuple(latencies))
        return replace(outcome, failure=_failure(setup, guest, api, pod, outcome))


class Guest:
    """A gateway whose console tells early that there is no use in waiting."""

    def __init__(self, gateway: Gateway, console: Path, deadline: float) -> None:
        self.gateway, self.console, self.deadline = gateway, console, deadline
        self._boot_id = ""

    def until(self, what: str, ask: Callable[[], object]) -> None:
        """Wait for it. Raises NotPassedError at the deadline, or when there is no hope left."""
        while not ask():
            self.gateway.guest.alive()
            _well(self.console)
            if time.monotonic() > self.deadline:
                raise NotPassedError(f"not in time: {what}")
            time.sleep(2)

    def said(self, command: str) -> str:
        """What a command says; empty while it fails."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = self.gateway.attempt(command)
            return done.stdout.strip() if done.returncode == 0 else ""
        return ""

    def boot_id(self) -> str:
        """What tells this boot from others; empty while the guest does not say."""
        self._boot_id = self._boot_id or self.said("cat /proc/sys/kernel/random/boot_id")
        return self._boot_id

    def answer(self, api: Api, pod: str) -> str:
        """What the pod says; empty while it does not."""
        address = api.pod(pod).get("status", {}).get("podIP", "")
        return self.said(f"wget -q -T 20 -O - http://{address}:8080/") if address else ""


def _well(console: Path) -> None:
    """Raises NotPassedError when firmware, kernel or systemd have told the end."""
    if console.exists() and (found := _LOST.search(console.read_text(errors="replace"))):
        raise NotPassedError(found.group())


def _server(setup: Setup, guest: Guest, port: int) -> tuple[Api, str, Api]:
    """The guest's own API. Its checker (edgeimg-report) makes the pod."""
    tls = setup.directory / f"tls-{port}"
    tls.mkdir()
    names = ("server-ca.crt", "client-admin.crt", "client-admin.key")
    files = " ".join(f"{TLS}/{name}" for name in names)
    guest.until("K3s runs", lambda: guest.said(f"systemctl is-active k3s.service && ls {files}"))
    for name in names:
        (tls / name).write_text(guest.gateway.run(f"cat {TLS}/{name}"))
    api = cluster.with_certificates(port, tls)
    return api, PODS, api


def _agent(setup: Setup, guest: Guest, port: int) -> tuple[Api, str, Api]:
    """The API of the server on this machine; the pod is put onto the agent by name."""
    assert setup.tls is not None
    api = cluster.with_certificates(setup.port, setup.tls)
    guest.until("the agent joins", lambda: api.node_is_ready(setup.node, guest.boot_id()))
    status, said = api.call("POST", PODS, hello_pod(setup))
    assert status == http.client.CREATED, said
    return api, "/healthz", cluster.with_certificates(port, setup.tls, "client-kube-apiserver")


def _rest(
    guest: Guest, asked: Api, path: str, seconds: float
) -> tuple[dict[str, int], list[float]]:
    """Leave the guest alone, but for a GET every few seconds."""
    latencies: list[float] = []
    script = f"SECONDS={seconds:.0f}\n{REST}"
    with ThreadPoolExecutor(max_workers=1) as pool:
        told = pool.submit(guest.gateway.run, script, timeout=seconds + 300)
        while not told.done():
            with contextlib.suppress(OSError, http.client.HTTPException):
                latencies.append(asked.latency(path))
            time.sleep(5)
    lines = (line.split() for line in told.result().splitlines())
    return {key: int(value) for key, value in lines}, latencies


def _failure(setup: Setup, guest: Guest, api: Api, pod: str, outcome: Outcome) -> str:
    """What went wrong at rest; empty when nothing did."""
    found, facts = api.pod(setup.pod), outcome.facts or {}
    slow = statistics.median(outcome.latencies or (USABLE + 1,)) > USABLE
    wrong = [
        *(f"{facts[name]} {name}" for name in ("oom_kill", "failed", "restarts") if facts[name]),
        *([] if api.node_is_ready(setup.node, guest.boot_id()) else ["the node is not Ready"]),
        *([] if found and found["metadata"]["uid"] == pod else ["the pod was evicted"]),
        *([] if guest.answer(api, setup.pod) else ["the pod does not answer"]),
        *([f"answers take {outcome.latency} ms"] if slow else []),
    ]
    return ", ".join(wrong)


def hello_pod(setup: Setup) -> dict[str, Any]:
    """The pod of the smoke test (overlays/base/usr/share/edgeimg/smoke/pod.yaml), on the agent."""
    container = {
        "name": "hello", "image": "localhost/edgeimg/hello:1", "imagePullPolicy": "Never",
        "resources": {
            "requests": {"cpu": "10m", "memory": "4Mi"}, "limits": {"memory": "16Mi"},
        },
    }  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": setup.pod},
        "spec": {
            "nodeName": setup.node, "automountServiceAccountToken": False,
            "enableServiceLinks": False, "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }  # fmt: skip
