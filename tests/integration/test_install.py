"""`edgeimg install` for real: loop devices in the place of internal disks."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from edgeimg.arch import X86_64
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.flash import devices
from edgeimg.flash.devices import Device
from edgeimg.flash.write import MARK
from edgeimg.install import boot_entry, machine
from edgeimg.pack import disk as disks

from tests import loop_devices
from tests.integration import bad_disks
from tests.integration.test_flash import EDGEIMG, MIB, Made, began, made, run  # noqa: F401
from tests.unit.install.test_install_rows import sysfs

KILLS = int(os.environ.get("EDGEIMG_TEST_FLASHES", "6"))
SECONDS = 120.0
"""Until a program that waits for an answer which nobody gives is ended."""
SEED = os.environ.get("EDGEIMG_TEST_SEED", "edgeimg")
pytestmark = [pytest.mark.integration, bad_disks.needs_loop]


@contextlib.contextmanager
def blank(folder: Path, *sizes: int) -> Iterator[list[Path]]:
    """Blank disks of these sizes (bytes)."""
    with loop_devices.readers(len(sizes)) as slots:
        for number, (slot, size) in enumerate(zip(slots, sizes, strict=True)):
            with (folder / f"disk-{number}").open("wb") as file:
                file.truncate(size)
            loop_devices.insert(slot, folder / f"disk-{number}")
        yield slots


def rules(folder: Path, image: Path, disk: str, more: str = "") -> Path:
    path = folder / "install.toml"
    path.write_text(f'image = "{image}"\ncountdown = 0\n{more}[disk]\nremovable = true\n{disk}\n')
    return path


def ledger(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fake_systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was asked of systemctl, in a file that is made with the first request."""
    program, asked = folder / "bin/systemctl", folder / "asked"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return asked


def is_blank(disk: Path) -> bool:
    return not any(disk.read_bytes())


def test_an_unattended_installation(made: Made, tmp_path: Path) -> None:  # noqa: F811
    with blank(tmp_path, 32 * MIB) as (disk,):
        file = rules(tmp_path, made.image, f'path = "{disk}"')
        dry = run("install", "--rules", file, "--dry-run", "--json")
        assert dry.returncode == 0, dry.stderr
        plan = json.loads(dry.stdout)
        assert (plan["disk"]["path"], plan["installed"]) == (str(disk), False)
        assert is_blank(disk)
        assert not (tmp_path / "install.ledger.jsonl").exists()
        done = run("install", "--rules", file, "--json")
        assert done.returncode == 0, done.stderr
        assert made.on(disk)
        assert json.loads(done.stdout)["result"]["ok"]
        entries = ledger(tmp_path / "install.ledger.jsonl")
        assert [entry["result"] for entry in entries] == ["started", "ok"]
        assert entries[0]["device"] == str(disk)


def test_two_disks_that_fit_stop_it(made: Made, tmp_path: Path) -> None:  # noqa: F811
    size = 31 * MIB + 4096 * 77  # of no other disk of this host
    with blank(tmp_path, size, size) as (one, other):
        which = f"min_size = {size}\nmax_size = {size}"
        done = run("install", "--rules", rules(tmp_path, made.image, which))
        assert done.returncode == 13
        assert "2 disks fit the rules, expected one: nothing was written" in done.stderr
        assert str(one) in done.stderr
        assert str(other) in done.stderr
        assert is_blank(one)
        assert is_blank(other)
        file = rules(tmp_path, made.image, f'{which}\npath = "{other}"')
        assert run("install", "--rules", file).returncode == 0
        assert is_blank(one)
        assert made.on(other)


def test_disks_that_flash_refuses_are_refused(made: Made, tmp_path: Path) -> None:  # noqa: F811
    mount = tmp_path / "mnt"
    mount.mkdir()
    with blank(tmp_path, 32 * MIB, 8 * MIB) as (disk, small):

        def install(target: Path, more: str = "") -> tuple[int, str]:
            file = rules(tmp_path, made.image, f'path = "{target}"\n{more}')
            done = run("install", "--rules", file)
            return done.returncode, done.stderr

        code, said = install(small)
        assert (code, is_blank(small)) == (13, True)
        assert "the image needs" in said
        disk.write_bytes(b"LUKS\xba\xbe\0\1".ljust(1024, b"\0"))
        before = disk.read_bytes()
        code, said = install(disk, "erase = true")
        assert (code, disk.read_bytes() == before) == (13, True)
        assert f"{disk} is an encrypted volume (LUKS)" in said
        disk.write_bytes(b"notes that nobody knows" * 100)
        before = disk.read_bytes()
        code, said = install(disk)
        assert (code, disk.read_bytes() == before) == (13, True)
        assert "it holds data without a known format" in said
        subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "root", disk], check=True)
        subprocess.run(["mount", disk, mount], check=True)
        try:
            code, said = install(disk, "erase = true")
        finally:
            subprocess.run(["umount", mount], check=True)
        assert code == 13
        assert f"{disk} is mounted on {mount}" in said
        code, said = install(disk)
        assert code == 13
        assert "it holds ext4 'root'" in said
        file = rules(tmp_path, made.image, f'path = "{disk}"').read_text()
        (tmp_path / "install.toml").write_text(file.replace("removable = true", ""))
        done = run("install", "--rules", tmp_path / "install.toml")
        assert done.returncode == 13
        assert "it is removable" in done.stderr
        assert install(disk, "erase = true")[0] == 0
        assert made.on(disk)


def test_it_starts_over_when_it_was_killed(made: Made, tmp_path: Path) -> None:  # noqa: F811
    chance = random.Random(SEED)
    with blank(tmp_path, 32 * MIB) as (disk,):
        file = rules(tmp_path, made.image, f'path = "{disk}"')
        for _ in range(KILLS):
            with disk.open("r+b") as opened:
                opened.write(bytes(32 * MIB))
            process = subprocess.Popen(
                [EDGEIMG, "install", "--rules", file], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if chance.random() < 0.8:  # from the first byte written on, and now and then before it
                while process.poll() is None and not began(disk):
                    time.sleep(0.001)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.choice((0.01, 0.1, 0.3)) * chance.random())
            process.kill()
            process.wait(30)
            if made.on(disk):
                continue
            assert is_blank(disk) or disk.read_bytes().startswith(MARK)
            again = run("install", "--rules", file)
            assert again.returncode == 0, again.stderr
            assert made.on(disk)


def test_ctrl_c_in_the_countdown_writes_nothing(made: Made, tmp_path: Path) -> None:  # noqa: F811
    with blank(tmp_path, 32 * MIB) as (disk,):
        file = rules(tmp_path, made.image, f'path = "{disk}"')
        file.write_text(file.read_text().replace("countdown = 0", "countdown = 600"))
        process = subprocess.Popen(
            [EDGEIMG, "install", "--rules", file], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        told = ""
        while "writing in 600 s" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        assert f"Disk:    {disk}" in told
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert is_blank(disk)
        assert ledger(tmp_path / "install.ledger.jsonl") == []


Typed = str | Callable[[str], str]
"""What is typed, or how it follows from all that was shown."""


def answered(*arguments: str | Path, answers: list[tuple[str, Typed]]) -> tuple[int, str]:
    """Run it on a terminal; each answer is typed after its question."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(EDGEIMG, [EDGEIMG, *map(str, arguments)])
    told, left = "", list(answers)
    asked = 0
    with contextlib.suppress(OSError):  # EIO: it has ended
        while select.select([terminal], [], [], SECONDS)[0]:
            told += os.read(terminal, 4096).decode(errors="replace")
            if left and left[0][0] in told[asked:]:
                asked = len(told)
                answer = left.pop(0)[1]
                text = answer if isinstance(answer, str) else answer(told)
                os.write(terminal, f"{text}\n".encode())
    os.close(terminal)  # one that still asks ends by SIGHUP
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert not left, told
    return code, told


def number(disk: Path) -> Callable[[str], str]:
    """The number of a disk in the menu. Tests beside this one make disks and remove them."""

    def of(told: str) -> str:
        (line,) = [line for line in told.splitlines() if f" {disk}: " in line]
        return line.split()[0]

    return of


def test_an_attended_installation(made: Made, tmp_path: Path) -> None:  # noqa: F811
    nobody = run("install", made.image)
    assert nobody.returncode == 13
    assert "there is no terminal to ask on" in nobody.stderr
    with blank(tmp_path, 32 * MIB) as (disk,):
        command = ("install", made.image, "--removable", "--ledger", tmp_path / "book")
        code, told = answered(*command, answers=[("Disk (1-", "none")] * 5)
        assert code == 18, told
        at = ("Disk (1-", number(disk))
        code, told = answered(*command, answers=[at, ("type the name", "yes")])
        assert (code, is_blank(disk)) == (18, True)
        assert "now:   empty" in told
        code, told = answered(*command, answers=[at, ("type the name", disk.name)])
        assert code == 0, told
        assert made.on(disk)
        assert [entry["result"] for entry in ledger(tmp_path / "book")] == ["started", "ok"]
        dry = run("install", made.image, "--dry-run", "--json")
        listed = {one["path"]: one for one in json.loads(dry.stdout)["disks"]}
        assert "it is removable" in listed[str(disk)]["reasons"][0]


def test_what_it_does_afterwards(
    made: Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = fake_systemctl(tmp_path, monkeypatch)
    with blank(tmp_path, 32 * MIB, 8 * MIB) as (disk, small):
        for target, options, code in (
            (disk, ["--dry-run"], 0), (small, [], 13), (disk, [], 0),
        ):  # fmt: skip
            assert not asked.exists()
            file = rules(tmp_path, made.image, f'path = "{target}"', 'after = "poweroff"\n')
            assert run("install", "--rules", file, *options).returncode == code
        assert asked.read_text() == "poweroff\n"


def test_a_disk_is_installed_once(
    made: Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk has a serial number, as real ones have and loop devices have not."""
    asked = fake_systemctl(tmp_path, monkeypatch)
    booted_next: list[str] = []
    monkeypatch.setattr(boot_entry, "is_possible", lambda: True)
    monkeypatch.setattr(boot_entry, "start_next", lambda one, _: booted_next.append(one.serial))
    with blank(tmp_path, 32 * MIB) as (disk,):
        listed = devices.disks

        def with_serial(lsblk: Any) -> tuple[Device, ...]:
            return tuple(
                replace(one, serial="L-1", removable=False) if one.path == str(disk) else one
                for one in listed(lsblk)
            )

        monkeypatch.setattr(devices, "disks", with_serial)
        file = rules(tmp_path, made.image, 'serial = "L-1"', 'after = "poweroff"\n')
        book = tmp_path / "install.ledger.jsonl"

        def install(*options: str) -> Any:
            return CliRunner().invoke(
                cli, ["install", "--rules", str(file), *options], obj=Answer()
            )

        assert install().exit_code == 0
        assert made.on(disk)
        assert [entry["serial"] for entry in ledger(book)] == ["L-1", "L-1"]
        asked.unlink()
        # The same once more: nothing is written, and it goes on as if it were.
        before = disk.read_bytes()
        with disk.open("r+b") as opened:
            opened.seek(31 * MIB)
            opened.write(b"data of the gateway")
        assert booted_next == ["L-1"]
        assert install("--dry-run").exit_code == 0
        assert not asked.exists()
        assert booted_next == ["L-1"]
        assert install().exit_code == 0
        assert asked.read_text() == "poweroff\n"
        assert booted_next == ["L-1"] * 2
        assert len(ledger(book)) == 2
        assert disk.read_bytes() != before
        # A ledger of another image knows nothing of it: what is on the disk is data.
        lines = book.read_text().splitlines()
        book.write_text("\n".join(line.replace(entry_digest(line), "0" * 64) for line in lines))
        assert "it holds data" in str(install().exception)
        # Interrupted between the last byte and the ledger: it starts over.
        book.write_text(lines[0] + "\n")
        assert install().exit_code == 0
        assert [entry["result"] for entry in ledger(book)] == ["started", "started", "ok"]
        assert made.on(disk)
        # The disk was erased since.
        with disk.open("r+b") as opened:
            opened.write(bytes(32 * MIB))
        assert install().exit_code == 0
        assert made.on(disk)


def entry_digest(line: str) -> str:
    return str(json.loads(line)["digest"])


def test_a_row_of_a_fleet(
    tiny: Any, publish_image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tiny.make(X86_64, {}, tmp_path)
    published = publish_image(tiny, packed, tmp_path / "out")
    gateways = "hostname,serial\nbox-1,X-1\nbox-2,X-77\n"
    (tmp_path / "gateways.csv").write_text(gateways)
    monkeypatch.setattr(machine, "SYS", sysfs(tmp_path / "sys"))
    with blank(tmp_path, packed.raw.stat().st_size + MIB) as (disk,):
        more = 'fleet = "gateways.csv"\nrow = ["dmi-serial"]\n'
        file = rules(tmp_path, published.directory, f'path = "{disk}"', more)

        def install() -> Any:
            return CliRunner().invoke(cli, ["install", "--rules", str(file)], obj=Answer())

        (tmp_path / "sys/class/dmi/id/product_serial").write_text("X-9\n")
        refused = install()
        assert "no row of" in str(refused.exception)
        assert is_blank(disk)
        (tmp_path / "sys/class/dmi/id/product_serial").write_text("X-77\n")
        # An unattended installation does not ask for a missing secret.
        (tmp_path / "gateways.csv").write_text(
            "hostname,serial,k3s.role,k3s.server\nbox-2,X-77,agent,https://10.0.0.1:6443\n"
        )
        secret = install()
        assert "token" in str(secret.exception), secret.output
        assert is_blank(disk)
        (tmp_path / "gateways.csv").write_text(gateways)
        done = install()
        assert done.exit_code == 0, done.output
        start = disks.read(disk, toolbox=tiny.pack)["config"].start
        name = tiny.pack.run("mtype", "-i", f"{disk}@@{start}", "::/edgeimg/hostname", timeout=60)
        assert name == b"box-2\n"
        (first, last) = ledger(tmp_path / "gateways.ledger.jsonl")
        assert (first["gateway"], last["result"]) == ("box-2", "ok")
        held = disk.read_bytes()
        rows = file.read_text()
        # Of a loop device nobody knows whether it is the same disk: it has no serial number.
        assert "box-2 was installed on" in str(install().exception)
        file.write_text(f"again = true\n{rows}")
        assert "it holds data" in str(install().exception)
        assert disk.read_bytes() == held
        file.write_text(f"again = true\n{rows}erase = true\n")
        assert install().exit_code == 0
        assert disk.read_bytes() == held
