"""What the host keeps of the guest's memory samples, over a real channel."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from edgeimg.smoke.boots import _boot
from edgeimg.smoke.verdict import STAGES, Sample
from edgeimg.vm.channel import Channel
from edgeimg.vm.machine import Guest


class Talker:
    """As much of a guest as a boot takes: its channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def alive(self) -> None:
        """It is."""

    def tail(self) -> list[str]:
        return ["the last line"]


@pytest.fixture
def said(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """Events that the guest sends to whoever connects."""
    events: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "port"))
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"".join(json.dumps(event).encode() + b"\n" for event in events))
                peer.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield events


def boot(tmp_path: Path) -> Any:
    channel = Channel(tmp_path / "port")
    try:
        return _boot(cast(Guest, Talker(channel)), 20, lambda _: None, lambda _: None)
    finally:
        channel.close()


def test_samples_and_stages_tell_memory_in_the_order_of_time(
    said: list[dict[str, Any]], tmp_path: Path
) -> None:
    said += [
        {"event": "stage", "name": name, "uptime": 10.0 * place, "memory_used": 1024 * place}
        for place, name in enumerate(STAGES, 1)
    ]
    said.append({"event": "sample", "uptime": 15.5, "memory_used": 51200})
    said.append({"event": "sample", "uptime": 16, "memory_used": "lots"})
    said.append({"event": "report"})
    found = boot(tmp_path)
    assert [stage.name for stage in found.stages] == list(STAGES)
    assert found.samples[:3] == (Sample(10.0, 1), Sample(15.5, 50), Sample(20.0, 2))
    assert len(found.samples) == 7
    assert json.loads(json.dumps(found.samples))[1] == [15.5, 50]


def test_a_guest_without_samples_is_as_good(said: list[dict[str, Any]], tmp_path: Path) -> None:
    said += [{"event": "stage", "name": name, "uptime": 1.0} for name in STAGES]
    said.append({"event": "report"})
    assert boot(tmp_path).samples == ()
