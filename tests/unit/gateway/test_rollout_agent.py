"""The roll-out agent of a gateway against a server with hawkBit's layout.

The real agent, edgeimg-update and trial run here; only systemd's programs are stand-ins.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.provision import rendering
from edgeimg.provision.settings import Settings
from pydantic import SecretStr

from tests.gateway_root import Root
from tests.hawkbit import Action, HawkBit
from tests.rollout_device import OVERLAYS, UPDATES, Device, dumped

POLL = "GET /DEFAULT/controller/v1/gw1"


@pytest.fixture
def server() -> Iterator[HawkBit]:
    made = HawkBit()
    made.add("gw1")
    yield made
    made.close()


@pytest.fixture
def device(server: HawkBit, tmp_path: Path) -> Device:
    made = Device(tmp_path / "gw1")
    made.provision(server.url, "token-gw1")
    return made


def told(action: Action) -> list[tuple[str, str, int | None]]:
    """Execution, result and code of each report."""
    return [(one["execution"], one["result"]["finished"], one.get("code"))
            for one in action.reports]  # fmt: skip


UNTIL_RESTART = [("download", "none", None), ("downloaded", "none", None),
                 ("proceeding", "none", None)]  # fmt: skip


def test_a_version_that_works(server: HawkBit, device: Device) -> None:
    """Each phase is reported once, and no link of the server is followed: they lead nowhere."""
    action = server.order("gw1", "1.1.0")
    device.poll()
    assert told(action) == UNTIL_RESTART
    assert device.reboots() == 1
    # The restart has been ordered, but the gateway still runs: this is no return.
    device.poll()
    assert told(action) == UNTIL_RESTART
    device.start("1.1.0", "indeterminate")
    device.poll()
    device.poll()
    trial = [*UNTIL_RESTART, ("proceeding", "none", None)]
    assert told(action) == trial
    device.bless()
    device.poll()
    assert told(action) == [*trial, ("closed", "success", None)]
    assert server.targets["gw1"].attributes["version"] == "1.1.0"


def test_a_version_that_does_not_start(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "1.1.0")
    device.poll()
    device.fail_to_start("1.1.0")
    device.start("1.0.0")
    device.poll()
    assert told(action)[-1] == ("closed", "failure", 20)
    details = action.reports[-1]["details"]
    assert details[0] == "it did not start"
    assert f"last line of {'f' * 32}" in details
    assert "kernel: panic 0" in details  # the server refuses "<" and ">"
    assert max(len(line) for line in details) == 512
    assert len(details) <= 50
    device.poll()
    assert len(action.reports) == 4


def test_a_version_that_is_given_up(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "1.1.0")
    device.poll()
    device.start("1.1.0", "indeterminate")
    (device.directory / "k3s").write_text("activating\n")
    device.run(UPDATES / "lib/edgeimg/trial", "expire")
    device.give_up("1.1.0")
    device.start("1.0.0")
    device.poll()
    assert told(action)[-1] == ("closed", "failure", 21)
    assert action.reports[-1]["details"][0] == "K3s is activating 100 s after the start"


def test_another_version_that_was_started(server: HawkBit, device: Device) -> None:
    """Somebody has chosen the old one in the boot menu."""
    action = server.order("gw1", "1.1.0")
    device.poll()
    device.start("1.0.0")
    device.poll()
    assert told(action)[-1] == ("closed", "failure", 22)


@pytest.mark.parametrize(
    ("version", "log", "code"),
    [
        ("1.1.0", "gpgv: BAD signature from a <a@example.org>", 10),
        ("0.9.0", "", 11),
        ("3.0.0", "", 13),
        ("../x", "", 13),
        ("1.1.0", "Failed: No space left on device", 14),
    ],
)
def test_a_refused_version(
    server: HawkBit, device: Device, version: str, log: str, code: int
) -> None:
    if log:
        (device.directory / "fail").write_text(f"{log}\n")
    action = server.order("gw1", version)
    device.poll()
    assert told(action)[-1] == ("closed", "failure", code)
    assert action.status == "ERROR"
    assert device.reboots() == 0


def test_a_release_that_is_not_the_published_one(
    server: HawkBit, device: Device, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    release.mkdir()
    (release / "SHA256SUMS").write_text("0 x\n")
    digest = hashlib.sha256(b"0 x\n").hexdigest()
    url = release.as_uri()
    bad = server.order("gw1", "1.1.0", url=url, sums="0" * 64)
    device.poll()
    assert told(bad)[-1] == ("closed", "failure", 15)
    good = server.order("gw1", "1.1.0", url=url, sums=digest)
    device.poll()
    assert told(good) == UNTIL_RESTART
    assert "--definitions=" in (device.directory / "installed").read_text()


def test_a_download_that_fails_is_tried_again(server: HawkBit, device: Device) -> None:
    (device.directory / "fail").write_text("Failed: timed out\n")
    action = server.order("gw1", "1.1.0")
    assert "try 1 of 50: " in device.poll().stderr
    assert told(action) == [("download", "none", None)]
    order = device.directory / "rollout/order"
    order.write_text(order.read_text().replace("tries=1", "tries=49"))
    device.poll()
    assert told(action)[-1] == ("closed", "failure", 19)


def test_a_window_and_a_download_only(server: HawkBit, device: Device) -> None:
    """What waits in the other slot does not start, not even after a power cut."""
    action = server.order("gw1", "1.1.0", update="skip", maintenanceWindow="unavailable")
    device.poll()
    device.poll()
    waits = [*UNTIL_RESTART[:2], ("scheduled", "none", None)]
    assert told(action) == waits
    assert device.entries() == ["gw_1.0.0.efi", "gw_1.1.0+0-0.efi"]
    assert device.reboots() == 0
    action.deployment |= {"update": "forced", "maintenanceWindow": "available"}
    device.poll()
    assert told(action) == [*waits, ("proceeding", "none", None)]
    assert device.entries() == ["gw_1.0.0.efi", "gw_1.1.0+3-0.efi"]
    assert device.reboots() == 1


def test_download_only(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "1.1.0", update="skip")
    device.poll()
    assert told(action) == UNTIL_RESTART[:2]
    assert action.status == "FINISHED"
    assert device.reboots() == 0
    assert device.entries() == ["gw_1.0.0.efi", "gw_1.1.0+0-0.efi"]
    # The same version comes as a second order that may restart.
    second = server.order("gw1", "1.1.0", download="attempt", update="attempt")
    device.poll()
    assert told(second)[-1] == ("proceeding", "none", None)
    assert (device.directory / "installed").read_text().count("update 1.1.0") == 1


def test_an_order_that_is_not_to_be_downloaded_yet(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "1.1.0", download="skip", update="skip")
    device.poll()
    assert told(action) == []
    assert not (device.directory / "installed").exists()


def test_a_cancellation_before_the_restart(server: HawkBit, device: Device) -> None:
    old = server.order("gw1", "1.1.0", update="skip", maintenanceWindow="unavailable")
    device.poll()
    new = server.order("gw1", "1.2.0")
    device.poll()
    (answer,) = old.cancel_reports
    assert (answer["execution"], answer["result"]["finished"]) == ("closed", "success")
    assert told(new) == UNTIL_RESTART
    assert device.entries() == ["gw_1.0.0.efi", "gw_1.1.0+0-0.efi", "gw_1.2.0+3-0.efi"]


def test_a_cancellation_that_comes_too_late(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "1.1.0")
    device.poll()
    action.canceling = True
    device.start("1.1.0", "indeterminate")
    device.poll()
    (answer,) = action.cancel_reports
    assert answer["execution"] == "rejected"
    device.bless()
    device.poll()
    assert told(action)[-1] == ("closed", "success", None)


def test_a_report_that_did_not_arrive_is_sent_again(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "3.0.0")
    feedback = "POST /DEFAULT/controller/v1/gw1/deploymentBase/1/feedback"
    server.answers[feedback] = (503, b"")
    assert "status 503, again" in device.poll().stderr
    assert told(action) == []
    device.start("1.0.0")
    del server.answers[feedback]
    device.poll()
    assert told(action) == [("closed", "failure", 13)]
    # What the server has closed already is done, too.
    server.order("gw1", "3.0.0")
    server.answers[feedback.replace("/1/", "/2/")] = (410, b"")
    device.poll()
    assert device.state()["said"] == "download closed"


def test_a_version_that_runs_already(server: HawkBit, device: Device) -> None:
    action = server.order("gw1", "1.0.0")
    device.poll()
    assert told(action) == [("closed", "success", None)]


def test_an_order_waits_while_a_version_is_on_trial(server: HawkBit, device: Device) -> None:
    device.start("1.0.0", "indeterminate")
    action = server.order("gw1", "1.1.0")
    device.poll()
    assert told(action) == []
    device.bless()
    device.poll()
    assert told(action) == UNTIL_RESTART


def test_the_attributes_of_a_gateway(server: HawkBit, device: Device) -> None:
    device.provision(server.url, "token-gw1", SITE="north <1>")
    partition = device.directory / "sys/block/dm-0/slaves/sda4/partition"
    serial = device.directory / "sys/class/dmi/id/product_serial"
    authority = device.directory / "rancher/agent/server-ca.crt"
    for path, text in {partition: "4\n", serial: "S" * 200, authority: "ca"}.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (device.directory / "rancher/server/db/etcd").mkdir(parents=True)
    device.poll()
    found = server.targets["gw1"].attributes
    assert found | {"arch": ""} == {
        "hardware": "S" * 128, "arch": "", "image": "gw", "version": "1.0.0", "slot": "B",
        "site": "north 1", "role": "server", "ha": "yes", "k3s": "active",
        "cluster": hashlib.sha256(b"ca").hexdigest()[:16],
    }  # fmt: skip
    puts = [path for method, path in server.requests if method == "PUT"]
    device.poll()
    assert [path for method, path in server.requests if method == "PUT"] == puts
    (device.directory / "k3s").write_text("failed\n")
    device.poll()
    assert server.targets["gw1"].attributes["k3s"] == "failed"
    shutil.copytree(UPDATES / "lib/edgeimg", device.directory / "lib")
    (device.directory / "lib/unready").touch()
    device.extra["EDGEIMG_LIB"] = str(device.directory / "lib")
    device.poll()
    assert server.targets["gw1"].attributes["k3s"] == "none"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"{}", "refuses this gateway (gw1): 401"),
        (502, b"<html>", "status 502"),
        (200, b"<html>", "cannot be read"),
        (200, b'{"_links": [1]}', "cannot be read"),
        (200, b'{"x": "' + b"y" * 70000 + b'"}', "Maximum file size"),
    ],
)
def test_a_server_that_does_not_answer_as_it_should(
    server: HawkBit, device: Device, status: int, body: bytes, said: str
) -> None:
    server.answers[POLL] = (status, body)
    assert device.poll().returncode == 0
    assert said in device.problem()
    shown = device.run(device_problems(), "")
    assert shown.stdout.startswith("roll-out: ")
    del server.answers[POLL]
    device.poll()
    assert device.problem() == ""


def test_a_problem_is_over_when_the_poll_ends_with_a_restart(
    server: HawkBit, device: Device
) -> None:
    """The gateway may wait for its window of restarts for days, without a word with the server."""
    server.answers[POLL] = (500, b"")
    device.poll()
    assert device.problem().endswith("status 500\n")
    del server.answers[POLL]
    server.order("gw1", "1.1.0")
    device.poll()
    assert device.reboots() == 1
    assert device.problem() == ""
    device.provision(server.url, 'token"')
    device.poll()
    assert "TOKEN has a character" in device.problem()
    device.provision(server.url, "token-gw1")
    device.poll()
    assert device.reboots() == 2
    assert device.problem() == ""


def test_a_gateway_without_a_token_says_so(device: Device) -> None:
    assert device.run(device_problems(), "").stdout == ""
    (device.directory / "run/rollout.env").unlink()
    assert "has no token" in device.run(device_problems(), "").stdout


def test_the_agent_takes_what_was_provisioned(
    server: HawkBit, device: Device, tmp_path: Path
) -> None:
    """From settings over the config partition to the attributes at the server."""
    token = "a.b_c~d+e/f=-1"
    server.targets["gw1"].token = token
    settings = Settings.model_validate({
        "hostname": "gw1",
        "rollout": {"token_file": SecretStr(token), "server": server.url, "tenant": "DEFAULT",
                    "site": "hall-7"},
    })  # fmt: skip
    root = Root(tmp_path / "root")
    root.put(rendering.files(settings))
    assert root.start() == ""
    file = device.directory / "run/rollout.env"
    file.write_text(root.read("run/edgeimg/rollout.env") + "ID=gw1\n")
    device.poll()
    assert device.problem() == ""
    assert server.targets["gw1"].attributes["site"] == "hall-7"
    server.targets["gw1"].token = "another"
    device.poll()
    assert "refuses this gateway" in device.problem()


def device_problems() -> Path:
    return OVERLAYS / "rollout/usr/lib/edgeimg/problems.d/rollout"


def test_a_link_with_something_else_than_a_number_is_no_order(
    server: HawkBit, device: Device
) -> None:
    href = "http://x.invalid/deploymentBase/1$(touch hacked)"
    server.answers[POLL] = (200, dumped({"_links": {"deploymentBase": {"href": href}}}))
    device.poll()
    assert not [path for _, path in server.requests if "deploymentBase" in path]
    good = {"_links": {"deploymentBase": {"href": "/deploymentBase/7"}}}
    server.answers[POLL] = (200, dumped(good))
    device.poll()
    assert server.requests[-1] == ("GET", "/DEFAULT/controller/v1/gw1/deploymentBase/7")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"TOKEN": 'a"b'}, "TOKEN has a character"),
        ({"ID": "a/b"}, "ID has a character"),
        ({"SERVER": "ftp://x"}, "SERVER is no"),
        ({"SERVER": "https://a b"}, "SERVER has a character"),
        ({"SERVER": 'https://a"b'}, "SERVER has a character"),
        ({"TOKEN": ""}, "neither TOKEN nor CERTIFICATE"),
    ],
)
def test_odd_settings_are_refused(
    server: HawkBit, device: Device, values: dict[str, str], said: str
) -> None:
    given = {"SERVER": server.url, "TENANT": "DEFAULT", "ID": "gw1", "TOKEN": "token-gw1"} | values
    text = "".join(f"{key}={value}\n" for key, value in given.items())
    (device.directory / "run/rollout.env").write_text(text)
    done = device.poll()
    assert done.returncode == 1
    assert said in device.problem()
    assert server.requests == []


def test_the_recipe_has_the_server_that_is_not_provisioned(server: HawkBit, device: Device) -> None:
    (device.directory / "rollout.conf").write_text(f"SERVER={server.url}/\nTENANT=other\n")
    (device.directory / "run/rollout.env").write_text("TOKEN=token-gw1\n")
    device.poll()
    assert server.requests[0] == ("GET", "/other/controller/v1/gw1")
    (device.directory / "run/rollout.env").unlink()
    device.poll()
    assert "was provisioned" in device.problem()


def test_the_server_may_ask_for_rarer_polls(server: HawkBit, device: Device) -> None:
    device.poll()
    before = len(server.requests)
    (device.directory / "uptime").write_text("300.0 1\n")
    device.poll("")
    assert len(server.requests) == before
    (device.directory / "uptime").write_text("360.0 1\n")
    device.poll("")
    assert len(server.requests) > before


def test_the_token_is_in_no_list_of_processes(server: HawkBit, device: Device) -> None:
    curl = device.directory / "curl"
    curl.write_text(
        f'#!/bin/sh\necho "$@" >> {device.directory}/arguments\nenv >> {device.directory}/env\n'
        'PATH=${PATH#*:} exec curl "$@"\n'
    )
    curl.chmod(0o755)
    (device.directory / "run/proxy.env").write_text("HTTPS_PROXY=http://p:1\nNO_PROXY=127.0.0.1\n")
    device.poll()
    assert server.targets["gw1"].attributes
    assert "token-gw1" not in (device.directory / "arguments").read_text()
    environment = (device.directory / "env").read_text()
    assert "https_proxy=http://p:1" in environment
    assert "token-gw1" not in environment
    assert (device.directory / "run/rollout.curl").stat().st_mode & 0o77 == 0


def test_mutual_tls_needs_no_token(server: HawkBit, device: Device) -> None:
    server.targets["gw1"].token = ""
    device.provision(server.url, "", CERTIFICATE="/etc/x.pem", KEY="/etc/x.key")
    device.poll()
    written = (device.directory / "run/rollout.curl").read_text()
    assert 'cert = "/etc/x.pem"\nkey = "/etc/x.key"\n' in written
    assert "Authorization" not in written
