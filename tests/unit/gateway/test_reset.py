"""The factory reset: what it ends, what it keeps, and that a power cut changes neither.

The gateway's scripts run here on directories; on a disk, in tests/boot/test_recovery.py.
"""

from __future__ import annotations

import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

BASE = Path(__file__).parents[3] / "overlays/base"
RESET = BASE / "usr/lib/edgeimg/reset"
COMMAND = BASE / "usr/bin/edgeimg-reset"
SET = {
    "hostname": "box-7\n",
    "k3s.yaml": 'token: "K10aa::node:0123456789abcdef"\n',
    "network/10-lan.network": "[Match]\nName=en*\n",
    "certificates/deep/er.pem": "-----BEGIN CERTIFICATE-----\n",
}
REQUEST = "lib/edgeimg/reset"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data partition's files after some time in use."""
    data = tmp_path / "data"
    kept = {f"lib/edgeimg/provision/{name}": text for name, text in SET.items()}
    for name, text in {
        **kept,
        REQUEST: "keep\n",
        "lib/edgeimg/machine-id": "0123456789abcdef0123456789abcdef\n",
        "lib/edgeimg/services/ssh/host key": "secret",
        "lib/edgeimg/services/ssh/ho\nst": "secret",
        "lib/rancher/k3s/server/token": "K10aa::server:00",
        "lib/rancher/k3s/storage/volume/precious": "data",
        "lib/containerd/layer/etc/-rf": "x",
        "lib/provision": "not the set",
        "log/journal/system.journal": "log",
        ".hidden": "x",
        "lost+found/#12": "x",
    }.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text)
    (data / "lib/edgeimg/provision").chmod(0o700)
    (data / "lib/rancher/k3s/data").symlink_to("/usr/lib/k3s/data")
    os.mkfifo(data / "lib/containerd/fifo")
    return data


def erase(how: str, data: Path) -> int:
    return subprocess.run([RESET, "erase", how, data], check=False).returncode


def contents(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): path.read_text() for path in data.rglob("*") if path.is_file()
    }


KEPT = {REQUEST: "keep\n", **{f"lib/edgeimg/provision/{name}": text for name, text in SET.items()}}


def test_all_goes_but_the_provisioning_and_the_request(data: Path) -> None:
    assert erase("keep", data) == 0
    assert contents(data) == KEPT
    assert (data / "lib/edgeimg/provision").stat().st_mode & 0o777 == 0o700
    left = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_dir()}
    assert left - {"lib/edgeimg/provision/network"} == {
        "lost+found", "lib", "lib/edgeimg", "lib/edgeimg/provision",
        "lib/edgeimg/provision/certificates", "lib/edgeimg/provision/certificates/deep",
    }  # fmt: skip


def test_everything_leaves_the_request_only(data: Path) -> None:
    assert erase("everything", data) == 0
    assert contents(data) == {REQUEST: "keep\n"}


def test_a_set_that_was_just_being_taken_over_stays_whole(data: Path) -> None:
    (data / "lib/edgeimg/provision").rename(data / "lib/edgeimg/provision.new")
    assert erase("keep", data) == 0
    assert (data / "lib/edgeimg/provision.new/hostname").read_text() == "box-7\n"


def test_keys_are_overwritten_before_they_are_removed(data: Path) -> None:
    names = ("lib/rancher/k3s/server/token", "lib/edgeimg/services/ssh/host key")
    opened = [(data / name).open("rb") for name in names]
    kept = (data / "lib/edgeimg/provision/k3s.yaml").open("rb")
    assert erase("keep", data) == 0
    for file in opened:
        assert set(file.read()) == {0}
        file.close()
    assert b"K10aa" in kept.read()
    kept.close()


def test_links_are_not_followed(data: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not of the data partition")
    (data / "lib/rancher/link").symlink_to(outside)
    (data / "lib/rancher/file").symlink_to(outside / "file")
    assert erase("keep", data) == 0
    assert (outside / "file").read_text() == "not of the data partition"


@pytest.mark.parametrize("milliseconds", [2, 5, 9, 14, 20, 30, 45])
def test_cut_off_anywhere_it_loses_nothing_and_is_finished_the_next_time(
    data: Path, milliseconds: int
) -> None:
    for number in range(300):
        (data / f"lib/rancher/{number}").write_text("x")
    with subprocess.Popen([RESET, "erase", "keep", data], process_group=0) as process:
        time.sleep(milliseconds / 1000)
        os.killpg(process.pid, 9)
    found = contents(data)
    assert {name: found.get(name) for name in KEPT} == KEPT
    assert erase("keep", data) == 0
    assert contents(data) == KEPT


def test_what_is_not_there_cannot_be_erased(tmp_path: Path) -> None:
    assert erase("keep", tmp_path / "none") != 0


@pytest.fixture
def gateway(tmp_path: Path) -> dict[str, str]:
    """An environment for the command in which a restart is only noted."""
    programs = tmp_path / "bin"
    programs.mkdir()
    stub = programs / "systemctl"
    stub.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/systemctl\n')
    stub.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "EDGEIMG_STATE": str(tmp_path / "state")}


def command(
    gateway: dict[str, str], *options: str, **more: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *options], env=gateway, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **{"stdin": subprocess.DEVNULL, **more},
    )  # fmt: skip


@pytest.mark.parametrize(("options", "noted"), [((), "keep"), (("--everything",), "everything")])
def test_the_command_notes_the_request_and_restarts(
    gateway: dict[str, str], options: tuple[str, ...], noted: str, tmp_path: Path
) -> None:
    done = command(gateway, "--yes", *options)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "state/reset").read_text() == f"{noted}\n"
    assert (tmp_path / "systemctl").read_text() == "reboot\n"


@pytest.mark.parametrize(
    ("options", "told"), [((), "nobody to ask"), (("--all",), "Usage:"), (("--yes", "x"), "Usage:")]
)
def test_the_command_does_nothing_that_it_was_not_told(
    gateway: dict[str, str], options: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = command(gateway, *options)
    assert done.returncode == 2
    assert told in done.stdout
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "systemctl").exists()


def test_a_read_only_data_partition_sends_to_the_boot_menu(
    gateway: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("in the way")
    done = command(gateway, "--yes")
    assert done.returncode == 1
    assert "boot menu" in done.stdout
    assert not (tmp_path / "systemctl").exists()


@pytest.mark.parametrize("right", [True, False])
def test_on_a_terminal_the_name_has_to_be_typed(
    gateway: dict[str, str], right: bool, tmp_path: Path
) -> None:
    name = subprocess.check_output(["hostname"], text=True).strip()
    master, slave = pty.openpty()
    os.write(master, f"{name if right else 'yes'}\n".encode())
    done = command(gateway, stdin=slave)
    os.close(master)
    os.close(slave)
    assert f"({name})" in done.stdout
    assert done.returncode == (0 if right else 1)
    assert (tmp_path / "state/reset").exists() == right
