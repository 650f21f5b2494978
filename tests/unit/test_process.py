"""Child processes: deadlines hold, groups end, failures bring the tail of their log."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from edgeimg import process
from edgeimg.errors import HostError, OverrunError, ToolError


def test_output_is_returned() -> None:
    assert process.run(["cat"], timeout=10, input=b"hello") == b"hello"


def test_failure_tells_status_and_tail() -> None:
    script = "for i in $(seq 40); do echo line $i >&2; done; exit 3"
    with pytest.raises(ToolError, match="sh failed with status 3") as caught:
        process.run(["sh", "-c", script], timeout=10)
    assert "line 40" in caught.value.message
    assert "line 20\n" not in caught.value.message


def test_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > child; sleep 600"
    with pytest.raises(ToolError, match="did not finish within 1 s"):
        process.run(["sh", "-c", script], timeout=1, cwd=tmp_path)
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    # It may be dying still, and whoever inherited it may not have collected it: dead is enough.
    deadline = time.monotonic() + 30
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_that_prints_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "OUTPUT", 1 << 20)
    with pytest.raises(ToolError, match="cat printed more than 1 MiB"):
        process.run(["cat", "/dev/zero"], timeout=60)
    with pytest.raises(ToolError, match="sh printed more than 1 MiB"):
        process.run(["sh", "-c", "cat /dev/zero >&2"], timeout=60)
    assert len(process.run(["head", "-c", "1M", "/dev/zero"], timeout=60)) == 1 << 20


@pytest.mark.parametrize("command", ["cat", "wc -c", "head -c 1", "true"])
def test_a_large_input_is_taken_or_left(command: str) -> None:
    data = bytes(range(256)) * 16_384
    out = process.run(["sh", "-c", command], timeout=60, input=data)
    assert out in (data, b"4194304\n", data[:1], b"")


def test_a_program_left_behind_does_not_hold_us() -> None:
    with pytest.raises(OverrunError, match="did not finish within 1 s"):
        process.run(["sh", "-c", "sleep 5 & exit 0"], timeout=1)


def test_missing_program_is_the_hosts_fault() -> None:
    with pytest.raises(HostError, match="cannot start /nonexistent"):
        process.run(["/nonexistent"], timeout=1)


def test_a_tool_that_fills_the_disk_is_the_hosts_fault() -> None:
    with pytest.raises(HostError, match="no space left"):
        process.run(["sh", "-c", "cat /dev/zero > /dev/full"], timeout=10)


def test_environment_is_the_same_for_every_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    seen = process.environment({"X": "1"})
    assert (seen["TZ"], seen["LC_ALL"], seen["X"]) == ("UTC", "C.UTF-8", "1")
    assert "SOURCE_DATE_EPOCH" not in seen


def test_what_runs_in_parallel_comes_back_in_order() -> None:
    def work(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    assert process.parallel(work, [0.2, 0.0], jobs=2) == [0.2, 0.0]


def test_when_one_fails_the_programs_of_the_others_are_ended() -> None:
    begun, ended = threading.Event(), list[str]()

    def work(item: str) -> None:
        if item == "bad":
            assert begun.wait(30)
            raise ValueError(item)
        begun.set()
        with pytest.raises(ToolError):  # by itself it would succeed, a minute later
            process.run(["sleep", "60"], timeout=90)
        ended.append(item)

    with pytest.raises(ValueError, match="bad"):
        process.parallel(work, ["bad", "long"], jobs=2)
    assert ended == ["long"]
