"""Which disk becomes which gateway, and how far each gateway is by the ledger."""

from __future__ import annotations

import os

from edgeimg.fleet import ledger
from edgeimg.fleet.ledger import Entry, Read
from edgeimg.fleet.match import Progress, Row, State, match, states

ROWS = (
    Row(name="a", disk_serial="SA", settings="1"), Row(name="b", settings="2"),
    Row(name="c", settings="3"),
)  # fmt: skip


def entry(gateway: str, result: ledger.Result = "ok", **more: str) -> Entry:
    settings = next(row.settings for row in ROWS if row.name == gateway)
    return Entry(**{
        "run": f"{gateway}{result}{len(more)}", "time": ledger.now(), "result": result,
        "gateway": gateway, "digest": "d", "settings": settings, "by": ledger.whoami(), **more,
    })  # fmt: skip


def of(*entries: Entry, again: tuple[str, ...] = ()) -> dict[str, State]:
    found = states(ROWS, Read(entries=entries), digest="d", again=again)
    return {name: one.state for name, one in found.items()}


def test_done_is_what_was_finished_with_this_image_and_these_settings() -> None:
    assert of() == {"a": "open", "b": "open", "c": "open"}
    assert of(entry("a"), entry("b", digest="old"), entry("c", settings="old")) == {
        "a": "done", "b": "open", "c": "open",
    }  # fmt: skip
    assert of(entry("a"), again=("a",))["a"] == "open"
    # What came last counts: the disk of before may have been the same one.
    assert of(entry("a"), entry("a", "failed"))["a"] == "open"
    assert of(entry("a", "failed"), entry("a"))["a"] == "done"


def test_a_run_that_never_ended_blocks_only_while_its_process_lives() -> None:
    mine = entry("a", "started").model_copy(update={"process": os.getpid()})
    assert of(mine)["a"] == "busy"
    assert of(mine, again=("a",))["a"] == "busy"
    assert of(mine.model_copy(update={"process": 1 << 22}))["a"] == "open"
    # Of another machine nothing can be told: the ledger came from there, the process did not.
    assert of(mine.model_copy(update={"by": "ada@elsewhere"}))["a"] == "open"


def progress(**given: State) -> dict[str, Progress]:
    return {
        row.name: Progress(state=given.get(row.name, "open"), last=entry(row.name)) for row in ROWS
    }


def test_serial_numbers_decide() -> None:
    found = match(ROWS, progress(), serial="SA")
    assert (found.row, found.sure) == (ROWS[0], True)
    assert "is being flashed" in match(ROWS, progress(a="busy"), serial="SA").reason
    told = match(ROWS, progress(a="done"), serial="SA")
    assert told.row is None
    assert "it is a's, which was flashed" in told.reason
    assert "--again a" in told.reason


def test_other_disks_become_the_next_one_without_a_serial_number_if_somebody_says_so() -> None:
    for serial in ("", "other"):
        found = match(ROWS, progress(), serial=serial)
        assert (found.row, found.sure) == (ROWS[1], False)
    assert match(ROWS, progress(b="busy"), serial="").row == ROWS[2]
    left = match(ROWS, progress(b="done", c="done"), serial="other")
    assert left.row is None
    assert "ask for serial numbers, and its serial number other is not" in left.reason
    assert "no gateway is left" in match(
        ROWS, progress(a="done", b="busy", c="done"), serial="").reason  # fmt: skip


def test_a_finished_gateways_disk_is_not_taken_for_the_next_one() -> None:
    """Card readers tell one serial number for all cards; the card itself says what it holds."""
    assert "it holds b, which was flashed" in match(
        ROWS, progress(b="done"), serial="", holds="b").reason  # fmt: skip
    assert match(ROWS, progress(), serial="", holds="b").row == ROWS[1]
    assert match(ROWS, progress(), serial="", holds="stranger").row == ROWS[1]


def test_no_serial_number_is_none_of_a_row() -> None:
    assert match((Row(name="a"),), {"a": Progress(state="open")}, serial="").sure is False
