"""The ledger: what is in it survives power cuts, two writers, and hands that slip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from edgeimg.errors import HostError
from edgeimg.fleet import ledger
from edgeimg.fleet.ledger import Entry, Ledger, Read


def entry(run: str, result: ledger.Result = "ok", **more: object) -> Entry:
    return Entry(run=run, time=ledger.now(), result=result, **more)  # type: ignore[arg-type]


def test_lines_are_json_and_come_back(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "fleet.ledger.jsonl")
    assert book.read() == Read()
    lines = [entry("1", "started", gateway="box-1"), entry("1", gateway="box-1", serial="S1")]
    for line in lines:
        book.add(line)
    assert book.read().entries == tuple(lines)
    told = [json.loads(line) for line in book.path.read_text().splitlines()]
    assert [one["result"] for one in told] == ["started", "ok"]
    assert [one.result for one in book.read().runs()] == ["ok"]


@pytest.mark.parametrize("left", [1, 20, 60])
def test_a_torn_last_line_is_told_and_stays_alone(tmp_path: Path, left: int) -> None:
    book = Ledger(tmp_path / "ledger")
    book.add(entry("1"))
    book.add(entry("2"))
    whole = book.path.read_bytes()
    first = whole.index(b"\n") + 1
    os.truncate(book.path, first + left)
    assert book.read().damaged == (2,)
    book.add(entry("3"))
    assert [one.run for one in book.read().entries] == ["1", "3"]
    assert book.read().damaged == (2,)


def test_a_line_that_lost_only_its_end_counts(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger")
    book.add(entry("1"))
    os.truncate(book.path, book.path.stat().st_size - 1)
    book.add(entry("2"))
    assert [one.run for one in book.read().entries] == ["1", "2"]
    assert book.read().damaged == ()


def test_nothing_is_added_to_another_file(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger")
    for start in (b"", b"\n", bytes(40), b'{"run": "1", "ti'):
        book.path.write_bytes(start)
        book.add(entry("2"))
        assert [one.run for one in book.read().entries] == ["2"]
    book.path.write_bytes(b"EFI PART and much more")
    with pytest.raises(HostError, match="not a ledger"):
        book.add(entry("2"))
    assert book.path.read_bytes() == b"EFI PART and much more"


def test_lines_of_later_versions_and_of_nobody(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger")
    later = {**entry("1").model_dump(), "operator_badge": "77"}
    book.path.write_text(json.dumps(later) + "\n\n[]\nhello\n" + '{"run": "2"}\n')
    assert [one.run for one in book.read().entries] == ["1"]
    assert book.read().damaged == (3, 4, 5)


def test_several_processes_write_whole_lines_and_claim_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    program = """
import sys, uuid
from pathlib import Path
from edgeimg.fleet.ledger import Entry, Ledger, now

def choose(read):
    taken = {one.gateway for one in read.entries}
    free = [name for name in map(str, range(120)) if name not in taken]
    return Entry(run=uuid.uuid4().hex, time=now(), result="started", gateway=free[0],
                 error="x" * 5000) if free else None

while Ledger(Path(sys.argv[1])).claim(choose):
    pass
"""
    writers = [subprocess.Popen([sys.executable, "-c", program, path]) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    read = Ledger(path).read()
    assert read.damaged == ()
    assert sorted(int(one.gateway) for one in read.entries) == list(range(120))


def test_a_run_without_an_end_is_running_only_while_its_process_is(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        run = entry("1", "started", by=ledger.whoami(), process=other.pid)
        assert ledger.is_running(run)
        assert not ledger.is_running(run.model_copy(update={"result": "ok"}))
        # Before that process: somebody else's number.
        assert not ledger.is_running(run.model_copy(update={"time": "2020-01-01T00:00:00+00:00"}))
        other.kill()
    assert not ledger.is_running(run)


def test_a_returned_box_is_found_by_name_serial_or_digest() -> None:
    runs = [
        entry("1", gateway="box-1", serial="S1", digest="ab12", root_hash="99"),
        entry("2", gateway="box-2", serial="S2", digest="ab34", root_hash="77"),
    ]
    assert ledger.select(runs, gateway="box-2") == (runs[1],)
    assert ledger.select(runs, serial="S1") == (runs[0],)
    assert ledger.select(runs, digest="sha256:AB") == tuple(runs)
    assert ledger.select(runs, digest="77") == (runs[1],)
    assert ledger.select(runs, digest="77", serial="S1") == ()


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    with pytest.raises(HostError, match="cannot write the ledger"):
        Ledger(tmp_path / "ledger").add(entry("1"))
    with pytest.raises(HostError, match="cannot read the ledger"):
        Ledger(tmp_path / "ledger").read()


def test_whoever_used_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    assert ledger.whoami().startswith("ada@")
