"""A gateway's roll-out agent, simulated: exactly the requests of the real script.

`tests/unit/rollout/test_rollout_scale.py` compares them with those of `overlays/rollout`, byte for
byte. A poll is a generator of requests, so that one process can have thousands of gateways.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

CURL = "8.14.1"
"""The version of Debian 13, which gateways have."""
LOG = ("it did not start", *(f"kernel: [{n:12.6f}] a line of the journal, of 80 characters "
                             f"as they usually are" for n in range(30)))  # fmt: skip
"""What a gateway reports of a version that did not start: a reason and 30 lines."""
TURNS = 6
Stage = Literal["idle", "fetched", "restart", "closed"]
Answer = tuple[int, bytes]
Poll = Generator[bytes, Answer, None]


@dataclass(kw_only=True)
class Traffic:
    """What the gateways sent and received, HTTP only."""

    polls: int = 0
    requests: int = 0
    sent: int = 0
    received: int = 0


@dataclass(kw_only=True)
class Gateway:
    """One gateway: what it runs, and how far its order is. `fails` versions do not start."""

    server: str
    name: str
    token: str
    attributes: Mapping[str, str]
    """In the order of the script's report; `version` is replaced by the version that runs."""
    version: str = "1.0.0"
    fails: frozenset[str] = frozenset()
    log: tuple[str, ...] = LOG
    tenant: str = "DEFAULT"
    curl: str = CURL
    stage: Stage = "idle"
    wanted: str = ""
    on_trial: bool = False
    reported: dict[str, str] = field(default_factory=dict)
    """The attributes that the server has of this start."""
    _order: int = 0
    _sent: set[str] = field(default_factory=set)
    _has_restarted: bool = False

    def restart(self) -> bool:
        """Restart if the agent has ordered it; whether it did."""
        if self.stage != "restart" or self._has_restarted:
            return False
        self._has_restarted, self.reported = True, {}
        self.on_trial = self.wanted not in self.fails
        if self.on_trial:
            self.version = self.wanted
        return True

    def bless(self) -> None:
        """The version that runs has shown that it works."""
        self.on_trial = False

    def poll(self) -> Poll:
        """One run of the agent: yields requests, expects the status and the body of each answer."""
        yield from self._judge()
        for _ in range(TURNS):
            if not (yield from self._turn()):
                return

    def _judge(self) -> Poll:
        if self.stage != "restart" or not self._has_restarted:
            return
        if self.version != self.wanted:
            yield from self._close("failure", 20, self.log)
        elif self.on_trial:
            yield from self._tell("trial", "proceeding", f"{self.version} is on trial")
        else:
            yield from self._close("success", None, (f"{self.version} runs",))

    def _turn(self) -> Generator[bytes, Answer, bool]:
        found = json.loads((yield from self._query("")))
        asked = "configData" in found["_links"]
        yield from self._report_attributes(asked)
        link = found["_links"].get("deploymentBase")
        if link is None:
            return False
        number = re.search(r"/deploymentBase/(\d+)", link["href"])
        assert number is not None, link
        return (yield from self._follow(int(number[1])))

    def _follow(self, order: int) -> Generator[bytes, Answer, bool]:
        chunks = json.loads((yield from self._query(f"/deploymentBase/{order}")))["deployment"]
        if order != self._order:
            self._order, self._sent, self._has_restarted = order, set(), False
            self.wanted, self.stage = chunks["chunks"][0]["version"], "idle"
        if self.on_trial or self.stage in ("restart", "closed"):
            return False
        if self.stage == "idle":
            yield from self._tell("download", "download", f"{self.version} runs")
            self.stage = "fetched"
            here = f"{self.wanted} is in the other slot"
            yield from self._tell("downloaded", "downloaded", here)
            return True
        self.stage = "restart"
        yield from self._tell("restart", "proceeding", f"restarts into {self.wanted}")
        return False

    def _report_attributes(self, asked: bool) -> Poll:
        now = {key: self.version if key == "version" else value
               for key, value in self.attributes.items()}  # fmt: skip
        if now == self.reported and not asked:
            return
        data = {key: value for key, value in now.items() if value}
        status, _ = yield self._request("PUT", "/configData", _pretty(
            {"mode": "replace", "data": data}
        ))  # fmt: skip
        if status < 300:
            self.reported = now

    def _tell(self, report: str, execution: str, line: str) -> Poll:
        body = {"status": {"execution": execution, "result": {"finished": "none"},
                           "details": [line]}}  # fmt: skip
        yield from self._deliver(report, json.dumps(body, separators=(",", ":")).encode())

    def _close(self, result: str, code: int | None, details: tuple[str, ...]) -> Poll:
        status: dict[str, Any] = {"execution": "closed", "result": {"finished": result},
                                  "details": list(details)}  # fmt: skip
        if code is not None:
            status["code"] = code
        self.stage = "closed"
        yield from self._deliver("closed", _pretty({"status": status}))

    def _deliver(self, report: str, body: bytes) -> Poll:
        if report in self._sent:
            return
        status, _ = yield self._request("POST", f"/deploymentBase/{self._order}/feedback", body)
        if status < 300 or status == 410:
            self._sent.add(report)

    def _query(self, path: str) -> Generator[bytes, Answer, bytes]:
        status, body = yield self._request("GET", path)
        assert status == 200, (self.name, path, status, body)
        return body

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """As curl sends it, for one connection of its own."""
        lines = [
            f"{method} /{self.tenant}/controller/v1/{self.name}{path} HTTP/1.1",
            f"Host: {urlsplit(self.server).netloc}", f"User-Agent: curl/{self.curl}",
            f"Authorization: TargetToken {self.token}", "Accept: application/json",
            "Content-Type: application/json",
        ]  # fmt: skip
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


def _pretty(value: object) -> bytes:
    """As jq writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


async def exchange(request: bytes, place: tuple[str, int], traffic: Traffic) -> tuple[int, bytes]:
    """Send a request on a connection of its own; the status and the body of its answer."""
    reader, writer = await asyncio.open_connection(*place)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-len"))
    body = await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()
    traffic.requests += 1
    traffic.sent += len(request)
    traffic.received += len(head) + len(body)
    return int(head.split(None, 2)[1]), body


async def poll_all(
    gateways: Sequence[Gateway], place: tuple[str, int], connections: int, traffic: Traffic
) -> None:
    """Each gateway polls once, with so many connections at the same time."""
    waiting = iter(gateways)

    async def work() -> None:
        for gateway in waiting:
            traffic.polls += 1
            poll = gateway.poll()
            request = next(poll, None)
            while request is not None:
                answer = await exchange(request, place, traffic)
                try:
                    request = poll.send(answer)
                except StopIteration:
                    break

    await asyncio.gather(*(work() for _ in range(connections)))
