"""The roll-out agent of a gateway against goosebit, a server of the same protocol by others.

What goosebit stores is read by its own API. It keeps states and the lines of reports, but neither
attributes nor codes; it has no cancellation, no window and no order to download only. Those are
tests/unit/gateway/test_rollout_agent.py's, against the stand-in of hawkBit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.goosebit import Goosebit
from tests.rollout_device import Device

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def goosebit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Goosebit]:
    running = Goosebit(tmp_path_factory.mktemp("goosebit"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def version(goosebit: Goosebit) -> int:
    """Number of version 1.1.0 at the server."""
    return goosebit.software("1.1.0")


def gateway(goosebit: Goosebit, directory: Path, name: str) -> Device:
    """A gateway that the server knows, and that has reported its attributes."""
    goosebit.change(name, auth_token=f"token-{name}")
    device = Device(directory / name, name=name)
    device.provision(goosebit.url, f"token-{name}")
    assert goosebit.device(name)["last_state"] == "Unknown"
    polled = device.poll()
    assert device.problem() == ""
    assert "attributes:" not in polled.stderr
    return device


def assign(goosebit: Goosebit, name: str, version: int) -> None:
    goosebit.change(name, software=str(version))


def test_attributes_register_a_gateway(goosebit: Goosebit, tmp_path: Path) -> None:
    """The server asks for them once; whoever has reported them is registered."""
    device = gateway(goosebit, tmp_path, "new")
    assert goosebit.device("new")["last_state"] == "Registered"
    assert goosebit.device("new")["last_ip"] == "127.0.0.1"
    device.poll()
    assert device.state() == {}


def test_a_wrong_token_is_refused(goosebit: Goosebit, version: int, tmp_path: Path) -> None:
    device = gateway(goosebit, tmp_path, "locked")
    assign(goosebit, "locked", version)
    device.provision(goosebit.url, "token-of-another")
    device.poll()
    assert "refuses this gateway (locked): 401" in device.problem()
    assert device.state() == {}
    device.provision(goosebit.url, "token-locked")
    device.poll()
    assert device.state()["stage"] == "restart"


def test_a_version_that_works(goosebit: Goosebit, version: int, tmp_path: Path) -> None:
    """It is ordered by a roll-out of the server, which counts what came of it."""
    device = gateway(goosebit, tmp_path, "good")
    goosebit.change("good", feed="works")
    body = {"name": "1.1.0", "feed": "works", "software_id": version}
    number = goosebit.call("PUT", "/rollouts", json=body)["id"]
    device.poll()
    assert device.state()["action"] == str(version)
    assert device.reboots() == 1
    assert goosebit.device("good")["last_state"] == "Running"
    assert "restarts into 1.1.0" in goosebit.reports("good")
    device.start("1.1.0", "indeterminate")
    device.poll()
    assert goosebit.device("good")["last_state"] == "Running"
    assert goosebit.reports("good")[-1] == "1.1.0 is on trial"
    device.bless()
    device.poll()
    assert goosebit.device("good")["last_state"] == "Finished"
    assert goosebit.device("good")["sw_version"] == "1.1.0"
    assert goosebit.reports("good")[-1] == "1.1.0 runs"
    counted = {one["id"]: one for one in goosebit.call("GET", "/rollouts")["rollouts"]}[number]
    assert (counted["success_count"], counted["failure_count"]) == (1, 0)
    device.poll()
    assert device.reboots() == 1


def test_a_bad_signature(goosebit: Goosebit, version: int, tmp_path: Path) -> None:
    """The server has the phases and the reason."""
    device = gateway(goosebit, tmp_path, "unsigned")
    (device.directory / "fail").write_text("gpgv: BAD signature from a <a@example.org>\n")
    assign(goosebit, "unsigned", version)
    device.poll()
    assert device.state()["code"] == "10"
    assert device.state()["said"] == "download closed"
    assert goosebit.device("unsigned")["last_state"] == "Error"
    reports = goosebit.reports("unsigned")
    assert reports[0] == "1.0.0 runs"
    assert reports[1].endswith("SHA256SUMS is not what was signed")
    assert device.reboots() == 0


def test_a_version_that_does_not_start(goosebit: Goosebit, version: int, tmp_path: Path) -> None:
    """The reason comes with the last lines of the boots that failed."""
    device = gateway(goosebit, tmp_path, "dead")
    assign(goosebit, "dead", version)
    device.poll()
    device.fail_to_start("1.1.0")
    device.start("1.0.0")
    device.poll()
    assert device.state()["code"] == "20"
    assert goosebit.device("dead")["last_state"] == "Error"
    reports = goosebit.reports("dead")
    assert reports[:2] == ["restarts into 1.1.0", "it did not start"]
    assert f"last line of {'f' * 32}" in reports


def test_an_order_that_is_withdrawn(goosebit: Goosebit, version: int, tmp_path: Path) -> None:
    """goosebit has no cancellation: it does not offer the version any more."""
    device = gateway(goosebit, tmp_path, "pinned")
    (device.directory / "fail").write_text("Failed: timed out\n")
    assign(goosebit, "pinned", version)
    assert "try 1 of 50" in device.poll().stderr
    (device.directory / "fail").unlink()
    goosebit.change("pinned", pinned=True)
    device.poll()
    assert (device.reboots(), device.state()["stage"]) == (0, "fetch")
    assign(goosebit, "pinned", version)
    device.poll()
    assert (device.reboots(), device.state()["stage"]) == (1, "restart")
