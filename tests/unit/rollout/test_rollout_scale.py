"""Thousands of gateways at a roll-out server: the simulated agent, and the measurement with few."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.hawkbit import HawkBit, Request
from tests.rollout_client import Gateway
from tests.rollout_device import Device

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[HawkBit]:
    started = HawkBit()
    yield started
    started.close()


def fresh(server: HawkBit) -> list[Request]:
    """The server as at the beginning; the record of its requests."""
    server.forget_orders()
    server.targets.clear()
    server.add("gw1")
    server.recorded = []
    return server.recorded


def poll(gateway: Gateway) -> None:
    """One run of the simulated agent."""
    turn = gateway.poll()
    answer = None
    while True:
        try:
            request = next(turn) if answer is None else turn.send(answer)
        except StopIteration:
            return
        place = urlsplit(gateway.server)
        with socket.create_connection((place.hostname or "", place.port or 80)) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        answer = int(head.split()[1]), body


def real(server: HawkBit, tmp_path: Path) -> list[Request]:
    """The requests of the real script: no order, an order, a trial, its end, one that fails."""
    requests = fresh(server)
    device = Device(tmp_path / "gw1")
    device.provision(server.url, "token-gw1", SITE="hall-7")
    device.poll()
    device.poll()
    server.order("gw1", "1.1.0")
    device.poll()
    device.start("1.1.0", "indeterminate")
    device.poll()
    device.bless()
    device.poll()
    device.poll()
    server.order("gw1", "1.2.0")
    device.poll()
    device.fail_to_start("1.2.0")
    device.start("1.1.0")
    device.poll()
    device.poll()
    assert server.targets["gw1"].status == "error"
    return requests


def test_the_simulated_agent_sends_what_the_real_one_sends(server: HawkBit, tmp_path: Path) -> None:
    wanted = real(server, tmp_path)
    failure = next(one.body for one in wanted if b'"failure"' in one.body)
    reason = json.loads(failure)["status"]["details"]
    attributes = json.loads(wanted[1].body)["data"]
    curl = re.match(r"curl (\S+)", subprocess.check_output(["curl", "--version"], text=True))
    assert curl is not None
    requests = fresh(server)
    gateway = Gateway(
        server=server.url, name="gw1", token="token-gw1", attributes=attributes,
        fails=frozenset({"1.2.0"}), log=tuple(reason), curl=curl[1],
    )  # fmt: skip
    poll(gateway)
    poll(gateway)
    server.order("gw1", "1.1.0")
    poll(gateway)
    assert gateway.restart()
    poll(gateway)
    gateway.bless()
    poll(gateway)
    poll(gateway)
    server.order("gw1", "1.2.0")
    poll(gateway)
    assert gateway.restart()
    poll(gateway)
    poll(gateway)
    assert not gateway.restart()
    assert [one.line for one in requests] == [one.line for one in wanted]
    assert requests == wanted
    assert server.targets["gw1"].status == "error"


def test_a_rollout_of_forty(tmp_path: Path) -> None:
    """The measurement: one of fifty fails, then a site fails that the first group does not have."""
    script, figures = PROJECT / "tests/bench/rollout.py", tmp_path / "figures.json"
    words = ["--gateways", "40", "--quick", "--json", str(figures)]
    subprocess.run([sys.executable, script, *words], check=True, capture_output=True, cwd=tmp_path)
    found = json.loads(figures.read_text())
    assert found["poll"] | {"sent": 0, "received": 0} == {
        "polls": 40, "requests": 40, "sent": 0, "received": 0,
    }  # fmt: skip
    assert found["poll"]["sent"] + found["poll"]["received"] <= 40 * 1024
    good, bad = found["rollouts"]
    assert (good["status"], good["updated"], good["failed"], good["not_reached"]) == (
        "finished", 39, 1, 0,
    )  # fmt: skip
    assert good["begun"] == good["groups"]
    assert bad["status"] == "paused"
    assert bad["begun"] < bad["groups"]
    assert bad["failed"] > 0
    assert bad["not_reached"] >= 20
    assert bad["updated"] + bad["failed"] + bad["not_reached"] == 40
    # An order costs ten requests beside its three polls; a failure is known after two polls.
    assert good["traffic"]["requests"] - good["traffic"]["polls"] == 39 * 10 + 8
