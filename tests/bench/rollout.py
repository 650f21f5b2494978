"""What a roll-out costs: thousands of gateways that poll, take versions in groups, and fail.

    python3 tests/bench/rollout.py [--gateways N] [--connections N] [--quick] [--json FILE]

The gateways are simulated in this process, with the requests of the real agent, a connection for
each, against the tests' stand-in for hawkBit in a process of its own. They poll in rounds: each
gateway once, then those that have an order restart. The commands are the real ones.

First a version that fails on 2 % of the gateways, then one that fails at one of eight sites, which
is not in the first group. Figures of the server are the stand-in's and not hawkBit's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import environment
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.errors import RolloutError
from edgeimg.fetch.api import Api
from edgeimg.fleet import rollout_tokens
from edgeimg.rollout import publish
from edgeimg.rollout.server import Server, credentials

from tests import hawkbit
from tests.rollout_client import Gateway, Traffic, poll_all

MIB = 1 << 20
ROUNDS = 200
"""More than any roll-out of this file has."""
SITES = 8
GROUPS = "".join(
    f'[[group]]\nname = "{name}"\npercent = {percent}\nfailures = 10\n'
    for name, percent in (("tenth", 10), ("half", 50), ("rest", 100))
)
MEASURED = """
import os, sys
from edgeimg.cli import main
path = sys.argv.pop(1)
try:
    main()
finally:
    now = os.times()
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    open(path, "w").write(f"{now.user + now.system} {peak.split()[1]}")
"""
"""A command that leaves its processor time and its peak memory: that of a child, as the kernel
reports it, includes its parent's."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One run of edgeimg: seconds, seconds of processor time, peak memory in bytes."""

    words: str
    code: int
    seconds: float
    cpu: float
    peak: int


@dataclass(kw_only=True)
class Figures:
    """One roll-out."""

    name: str
    rounds: int = 0
    seconds: float = 0.0
    server_cpu: float = 0.0
    gateways_cpu: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    status: str = ""
    groups: int = 0
    begun: int = 0
    updated: int = 0
    failed: int = 0
    not_reached: int = 0


@dataclass(kw_only=True)
class Report:
    """Everything that is measured; `poll` is the traffic of polls without an order."""

    gateways: int
    poll: Traffic = field(default_factory=Traffic)
    commands: list[Command] = field(default_factory=list)
    rollouts: list[Figures] = field(default_factory=list)
    server_peak: int = 0


def attributes(number: int) -> Mapping[str, str]:
    """Of each hundred, three are servers of one cluster; of the others, each third is an agent."""
    several = number % 100 < 3
    agent = number % 10 > 6
    return {
        "hardware": f"SN-{number:08}", "arch": "aarch64", "image": "gateway", "version": "",
        "slot": "A", "site": f"hall-{number // 3 % SITES}",
        "role": "agent" if agent else "server",
        "cluster": f"{number // 100 if several else 1_000_000 + number:016x}",
        "ha": "yes" if several else "no", "k3s": "active",
    }  # fmt: skip


def fails(number: int) -> frozenset[str]:
    """One of fifty for 1.1.0, evenly spread; one site for 1.2.0."""
    at_random = number % 50 == (7 * (number // 50) + 13) % 50
    of_a_site = number // 3 % SITES == 3
    found = {"1.1.0": at_random, "1.2.0": of_a_site}
    return frozenset(version for version, failing in found.items() if failing)


class Bench:
    """A server, its gateways, and the commands that use it."""

    def __init__(self, count: int, connections: int, directory: Path, *, quick: bool) -> None:
        self.report = Report(gateways=count)
        self.directory = directory
        self._connections, self._quick = connections, quick
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hawkbit"], cwd=environment.ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        host, _, port = self.url.removeprefix("http://").partition(":")
        self._place = host, int(port)
        os.environ.update(hawkbit.environment(self.url))
        self._numbers = {f"gw-{number:05}": number for number in range(count)}
        self.gateways: list[Gateway] = []

    def close(self) -> None:
        """End the server."""
        self._process.communicate("")

    def edgeimg(self, *words: str) -> dict[str, object]:
        """Run a command and measure it, unless this is quick; what it prints with --json."""
        if self._quick:
            answer = Answer()
            with contextlib.suppress(RolloutError):
                cli.main([*words, "--json"], standalone_mode=False, obj=answer)
            return self._parsed(json.dumps(answer._parts))
        figures = self.directory / "figures"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, figures, *words, "--json"], cwd=self.directory,
            text=True, capture_output=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        if done.returncode not in (0, 22):
            raise SystemExit(f"edgeimg {' '.join(words)}: {done.returncode}\n{done.stderr}")
        cpu, peak = figures.read_text().split()
        self.report.commands.append(Command(
            words=" ".join(Path(word).name for word in words), code=done.returncode,
            seconds=seconds, cpu=float(cpu), peak=int(peak) * 1024,
        ))  # fmt: skip
        return self._parsed(done.stdout)

    @staticmethod
    def _parsed(text: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(text)
        return found

    def register(self) -> None:
        """Register all gateways, twice, and let them report what they are."""
        fleet = self.directory / "fleet.csv"
        rows = [f"{name},{attributes(n)['site']}\n" for name, n in self._numbers.items()]
        fleet.write_text("".join(["hostname,rollout.site\n", *rows]))
        for _ in range(2):
            self.edgeimg("fleet", "register", str(fleet))
        self.gateways = [
            Gateway(
                server=self.url, name=name, token=token.get_secret_value(),
                attributes=attributes(self._numbers[name]), fails=fails(self._numbers[name]),
            )
            for name, token in sorted(rollout_tokens.read(fleet).items())
        ]  # fmt: skip
        self._poll(Traffic())
        self._poll(self.report.poll)

    def publish(self, version: str) -> None:
        """Make a version known to the server."""
        with contextlib.closing(Api(self.url, *credentials())) as api:
            release = f"https://updates.example.org/gateway/{version}"
            publish.publish(Server(api), publish.Version(
                image="gateway", version=version, url=release, sums="0" * 64
            ))  # fmt: skip

    def roll_out(self, version: str, about: str) -> Figures:
        """Start a roll-out and let the gateways poll until nothing moves."""
        self.publish(version)
        first = [name for name, n in self._numbers.items()
                 if n % 100 > 2 and attributes(n)["site"] == "hall-0"]  # fmt: skip
        canary = json.dumps(first[: max(2, len(self._numbers) // 100)])
        steps = self.directory / "steps.toml"
        steps.write_text(
            f'[[group]]\nname = "canary"\nfailures = 10\ngateways = {canary}\n{GROUPS}'
        )
        name = f"gateway {version}"
        self.edgeimg("rollout", "start", "gateway", version, "--steps", str(steps))
        figures = Figures(name=about)
        began, cpu, own = time.monotonic(), self._cpu(), time.process_time()
        traffic, before = figures.traffic, -1
        while traffic.requests - traffic.polls > before and figures.rounds < ROUNDS:
            before = traffic.requests - traffic.polls
            self._poll(traffic)
            figures.rounds += 1
        figures.seconds = time.monotonic() - began
        figures.server_cpu, figures.gateways_cpu = self._cpu() - cpu, time.process_time() - own
        state = self.edgeimg("rollout", "status", name)
        groups = state["groups"]
        assert isinstance(groups, list)
        figures.status, figures.groups = str(state["status"]), len(groups)
        figures.begun = sum(one["status"] in ("running", "finished", "error") for one in groups)
        figures.updated = sum(one.version == version for one in self.gateways)
        figures.failed = sum(one.wanted == version != one.version for one in self.gateways)
        figures.not_reached = sum(one.wanted != version for one in self.gateways)
        return figures

    def _poll(self, traffic: Traffic) -> None:
        """One round: all poll, those on trial are found good, those with an order restart."""
        asyncio.run(poll_all(self.gateways, self._place, self._connections, traffic))
        for gateway in self.gateways:
            if not gateway.restart():
                gateway.bless()

    def _cpu(self) -> float:
        """Seconds of the server's processor time until now."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def server_peak(self) -> int:
        """Bytes of the server's memory at most."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(one.split()[1]) * 1024 for one in lines if one.startswith("VmHWM:"))


def shown(report: Report) -> Iterator[str]:
    """The tables."""
    poll = report.poll
    yield f"{report.gateways} gateways; the server's peak {report.server_peak / MIB:.0f} MiB"
    yield (
        f"a poll without an order: {poll.requests / poll.polls:.2f} requests, "
        f"{poll.sent / poll.polls:.0f} bytes sent, {poll.received / poll.polls:.0f} received"
    )
    yield (
        "| roll-out | status | groups begun | updated | failed | not reached | rounds | requests "
        "| bytes a request | s | server CPU s | gateways CPU s |"
    )
    for one in report.rollouts:
        traffic = one.traffic
        size = (traffic.sent + traffic.received) / traffic.requests
        yield (
            f"| {one.name} | {one.status} | {one.begun} of {one.groups} | {one.updated} "
            f"| {one.failed} | {one.not_reached} | {one.rounds} | {traffic.requests} "
            f"| {size:.0f} | {one.seconds:.0f} | {one.server_cpu:.1f} | {one.gateways_cpu:.1f} |"
        )
    yield "| command | exit code | s | CPU s | peak MiB |"
    for command in report.commands:
        yield (
            f"| {command.words} | {command.code} | {command.seconds:.1f} | {command.cpu:.1f} "
            f"| {command.peak / MIB:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateways", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--quick", action="store_true", help="do not measure the commands")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeimg-bench.") as name:
        bench = Bench(options.gateways, options.connections, Path(name), quick=options.quick)
        try:
            bench.register()
            for version, about in (("1.1.0", "2 % fail"), ("1.2.0", "one site fails")):
                bench.report.rollouts.append(bench.roll_out(version, about))
            bench.report.server_peak = bench.server_peak()
        finally:
            bench.close()
    for line in shown(bench.report):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(asdict(bench.report), indent=1) + "\n")


if __name__ == "__main__":
    main()
