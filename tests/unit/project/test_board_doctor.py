"""What `edgeimg doctor --board` says of a board."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

from edgeimg.project import board_doctor
from edgeimg.recipe import board_reports
from edgeimg.recipe.board_reports import BoardReport
from edgeimg.recipe.file import shipped_boards

REPORT = BoardReport(
    board="raspberrypi", hardware="Raspberry Pi 4 Model B, 2 GiB", edgeimg="0.3.0",
    kernel="6.12.118", date=datetime.date(2026, 12, 1), by="somebody", works=("start", "network"),
    fails=("wireless network",),
)  # fmt: skip


def messages(board: str, *reports: BoardReport) -> dict[str, str]:
    facts = board_doctor.examine(shipped_boards()[board], reports)
    return {fact.topic: f"{fact.state}: {fact.message}" for fact in facts}


def test_a_board_without_reports_says_so() -> None:
    told = messages("raspberrypi", REPORT.model_copy(update={"board": "beaglebone"}))
    assert told["hardware"] == "note: nobody has reported this board on hardware"


def test_a_report_is_shown() -> None:
    assert messages("raspberrypi", REPORT)["hardware"] == (
        "ok: Raspberry Pi 4 Model B, 2 GiB: edgeimg 0.3.0, Linux 6.12.118, 2026-12-01; "
        "works: start, network; fails: wireless network; seen by somebody"
    )


def test_the_model_is_described() -> None:
    assert messages("beaglebone")["QEMU"] == "note: QEMU has no model of this board"
    assert (
        "to the verified root, with its boot loader on the disk"
        in (messages("allwinner-h3")["QEMU"])
    )
    assert "loaded by QEMU" in messages("qemu-virt-uboot")["QEMU"]


def test_reports_are_read(tmp_path: Path) -> None:
    rows = tmp_path / "boards.toml"
    rows.write_text(
        '[[report]]\nboard = "raspberrypi"\nhardware = "Raspberry Pi 4 Model B, 2 GiB"\n'
        'edgeimg = "0.3.0"\nkernel = "6.12.118"\ndate = 2026-12-01\nby = "somebody"\n'
        'works = ["start", "network"]\nfails = ["wireless network"]\n'
    )
    assert board_reports.read(rows) == (REPORT,)


def test_every_report_is_of_a_board_that_exists() -> None:
    assert {report.board for report in board_reports.read()} <= set(shipped_boards())


def test_doctor_tells_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "edgeimg", "doctor", "--board", "beaglebone", "--json"]
    done = subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True)
    topics = [fact["topic"] for fact in json.loads(done.stdout)["findings"]]
    assert topics == ["board", "QEMU", "hardware"]
