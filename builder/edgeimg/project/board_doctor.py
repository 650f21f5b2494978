"""What is known of a board: QEMU's model of it, and who has seen it on hardware."""

from __future__ import annotations

from collections.abc import Sequence

from edgeimg.project.doctor import Fact
from edgeimg.recipe.board import Board
from edgeimg.recipe.board_reports import BoardReport

_REACHES = {"pod": "to a pod", "root": "to the verified root"}


def examine(board: Board, reports: Sequence[BoardReport]) -> list[Fact]:
    """What a user of the board wants to know before sending one away. Pure."""
    return [
        Fact(topic="board", state="ok", message=f"{board.name}, {board.arch}: {board.title}"),
        _model(board),
        *_counting(board),
        *_hardware([report for report in reports if report.board == board.name]),
    ]


def _model(board: Board) -> Fact:
    if board.qemu is None:
        return Fact(topic="QEMU", state="note", message="QEMU has no model of this board")
    how = "with its boot loader on the disk"
    if board.emulator_files:
        how = "with its boot loader loaded by QEMU"
    missing = "; not in the model: " + ", ".join(board.qemu.lacks) if board.qemu.lacks else ""
    return Fact(
        topic="QEMU",
        state="ok",
        message=f"`edgeimg smoke --board` goes {_REACHES[board.qemu.reaches]}, {how}{missing}",
    )


def _counting(board: Board) -> list[Fact]:
    if board.counting != "initrd":
        return []
    return [
        Fact(
            topic="counting",
            state="note",
            message="the initrd counts the starts of a new version: one that ends before the "
            "initrd is started for ever",
        )
    ]


def _hardware(reports: Sequence[BoardReport]) -> list[Fact]:
    if reports:
        return [Fact(topic="hardware", state="ok", message=str(report)) for report in reports]
    return [
        Fact(
            topic="hardware",
            state="note",
            message="nobody has reported this board on hardware",
            advice="try one on your desk, then send the output of `edgeimg-status --hardware` and "
            'what works: the page "Boards without UEFI" has the form',
        )
    ]
