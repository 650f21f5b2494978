"""The questions of an attended installation, and the countdown of an unattended one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.errors import FlashError, HostError
from edgeimg.install import countdown, rows
from edgeimg.install.machine import Machine
from edgeimg.install.menu import Menu
from edgeimg.install.plan import Plan
from edgeimg.install.rules import SIGNS

from tests.unit.install.test_install_disks import EMMC, GB, SSD, STICK, look
from tests.unit.install.test_install_rows import S1, fleet


def menu(*answers: str) -> tuple[Menu, list[str]]:
    said: list[str] = []
    left = list(answers)

    def ask(question: str) -> str:
        said.append(question)
        return left.pop(0)

    return Menu(ask, said.append), said


def test_a_disk_is_chosen_by_its_number_and_never_a_refused_one() -> None:
    asked, said = menu("2", "x", "0", "4", "1")
    found = asked.disk(look(SSD, {**EMMC, "path": "/dev/zzz", "size": GB}, STICK))
    assert found.device.path == "/dev/nvme0n1"
    assert [line for line in said if line.startswith("not that one: /dev/sda2 holds the system")]
    assert said.count("expected a number from 1 to 3") == 3
    with pytest.raises(FlashError, match="no disk was chosen"):
        menu(*["9"] * 5)[0].disk(look(SSD))
    with pytest.raises(HostError, match="no disk may be written to") as caught:
        menu()[0].disk(look(STICK))
    assert "it is removable" in caught.value.message


def test_the_likely_row_is_proposed(tmp_path: Path) -> None:
    gateways = fleet(tmp_path)
    likely = rows.find(gateways, SIGNS, Machine(serial="X-77"), S1)
    assert [one.gateway.name for one in likely] == ["box-1", "box-3"]
    asked, said = menu("", "2")
    found = asked.row(gateways, likely, {})  # two are likely: no default
    assert found is not None
    assert (found.gateway.name, found.signs) == ("box-2", ())
    assert "expected a number from 1 to 5" in said
    asked, said = menu("")
    found = asked.row(gateways, likely[:1], {})
    assert found is not None
    assert (found.gateway.name, found.signs) == ("box-1", ("dmi-serial",))
    assert "Gateway (1-5, Enter: 1)" in said
    asked, said = menu("", "1")  # a twin of this machine has its disk
    assert asked.row(gateways, likely[:1], {"box-1": "the disk S2"}) is not None
    assert "expected a number from 1 to 5" in said
    assert any("now: on the disk S2" in line for line in said)
    assert menu("5")[0].row(gateways, likely[:1], {}) is None


def test_one_image_is_not_asked_for() -> None:
    assert menu()[0].image([Path("a")]) == Path("a")
    assert menu("2")[0].image([Path("a"), Path("b")]) == Path("b")


def test_the_name_of_the_disk_is_typed() -> None:
    plan = Plan(
        machine=Machine(model="Box"), disk=look(SSD, data="ext4")[0], image=Path("x/gw.raw"),
        size=4 * GB, row=None, after="reboot",
    )  # fmt: skip
    asked, said = menu("nvme0n1")
    asked.confirm(plan)
    text = "\n".join(said)
    assert "Disk:    /dev/nvme0n1: Acme SSD 64, S1, 64.0 GB" in text
    assert "  now:   ext4. All of it will be lost." in text
    empty = replace(plan, disk=look(SSD)[0])
    assert "  now:   empty" in empty.lines()
    assert "the machine restarts" in text
    for answer in ("", "y", "/dev/sda", "nvme0n"):
        with pytest.raises(FlashError, match="nothing was written"):
            menu(answer)[0].confirm(plan)


def pressing(at: int) -> tuple[Callable[[float], bool], list[float]]:
    waits: list[float] = []

    def pressed(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == at

    return pressed, waits


def test_the_countdown_may_be_stopped() -> None:
    said: list[str] = []
    pressed, waits = pressing(0)
    countdown.wait(33, said.append, pressed)
    assert waits == [1.0] * 33
    assert [int(re.findall(r"in (\d+) s", line)[0]) for line in said] == [
        33, 30, 20, *range(10, 0, -1),
    ]  # fmt: skip
    pressed, waits = pressing(3)
    with pytest.raises(FlashError, match="nothing was written: it was stopped"):
        countdown.wait(33, said.append, pressed)
    assert len(waits) == 3
    countdown.wait(0, said.append, pressing(1)[0])
