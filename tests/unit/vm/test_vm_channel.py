"""The report channel and QMP against a peer on a real socket."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg.errors import SmokeError, ToolError
from edgeimg.vm.channel import Channel
from edgeimg.vm.qmp import Qmp


@pytest.fixture
def sockets() -> Iterator[Path]:
    # tmp_path may be longer than the 107 bytes of a socket's address.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def peer(path: Path, behave: Callable[[socket.socket], None]) -> Iterator[None]:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve() -> None:
        with contextlib.suppress(OSError):  # the test may end before it is served
            connection, _ = server.accept()
            with connection:
                behave(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    server.close()
    thread.join(5)


def nothing() -> None:
    """The machine is alive."""


def soon() -> float:
    return time.monotonic() + 5


def test_events_arrive_whole_and_noise_is_skipped(sockets: Path) -> None:
    def guest(connection: socket.socket) -> None:
        for part in (b'noise\n[1]\n{"event":"st', b'age","name":"node"}\n{"event":"report"}\n'):
            connection.sendall(part)
            time.sleep(0.05)

    with peer(sockets / "r", guest), contextlib.closing(Channel(sockets / "r")) as channel:
        assert channel.event(soon(), nothing) == {"event": "stage", "name": "node"}
        assert channel.event(soon(), nothing) == {"event": "report"}


def test_a_journal_ends_at_its_mark(sockets: Path) -> None:
    def guest(connection: socket.socket) -> None:
        assert connection.recv(100) == b"journal\n"
        connection.sendall(b'a\n{"not":"the end"}\n\xff\n{"event":"journal-end"}\n{"event":"x"}\n')

    with peer(sockets / "r", guest), contextlib.closing(Channel(sockets / "r")) as channel:
        channel.send("journal")
        text = channel.text("journal-end", soon(), nothing)
        assert text == 'a\n{"not":"the end"}\n\ufffd\n'
        assert channel.event(soon(), nothing) == {"event": "x"}


def test_silence_ends_at_the_deadline(sockets: Path) -> None:
    with (
        peer(sockets / "r", lambda c: time.sleep(1)),
        contextlib.closing(Channel(sockets / "r")) as channel,
        pytest.raises(SmokeError, match="before the deadline"),
    ):
        channel.event(time.monotonic() + 0.2, nothing)


def test_a_dead_machine_is_noticed_before_the_deadline(sockets: Path) -> None:
    def dead() -> None:
        raise SmokeError("QEMU ended with status 1")

    with (
        peer(sockets / "r", lambda c: time.sleep(0.2)),
        contextlib.closing(Channel(sockets / "r")) as channel,
        pytest.raises(SmokeError, match="status 1"),
    ):
        channel.event(soon(), dead)


def qemu(connection: socket.socket) -> None:
    stream = connection.makefile("rwb", buffering=0)
    stream.write(b'{"QMP": {}}\n')
    answers = {
        "qmp_capabilities": {"return": {}},
        "query-status": {"return": {"status": "running"}},
    }
    for line in stream:
        command = json.loads(line)["execute"]
        stream.write(b'{"event": "RESUME"}\n')
        answer = answers.get(command, {"error": {"desc": "no such command"}})
        stream.write(json.dumps(answer).encode() + b"\n")


def test_qmp_answers_are_told_from_events(sockets: Path) -> None:
    with peer(sockets / "q", qemu), Qmp(sockets / "q") as monitor:
        assert monitor.status() == "running"
        assert [event["event"] for event in monitor.events] == ["RESUME", "RESUME"]
        with pytest.raises(ToolError, match="no such command"):
            monitor.execute("bogus")


def test_qmp_without_qemu_is_one_clear_error(sockets: Path) -> None:
    with pytest.raises(ToolError, match="did not start"):
        Qmp(sockets / "none", timeout=0.2)
