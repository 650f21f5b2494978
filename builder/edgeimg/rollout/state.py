"""How a roll-out goes: its groups, why gateways failed, and which ones are silent."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

from edgeimg.errors import RolloutError
from edgeimg.rollout.server import Server, quoted
from edgeimg.text.json_text import JsonObject

Verb = Literal["pause", "resume", "stop"]
REASONS = {
    10: "the signature is not one of this image's keys",
    11: "the version is older, and allow_older does not name it",
    12: "the rollback index is smaller",
    13: "there is no such version at its address",
    14: "no space",
    15: "the release is not the published one",
    19: "the download failed at 50 polls",
    20: "the version did not start",
    21: "K3s did not run in time",
    22: "another version was started",
}
"""What the codes of the gateways' agent mean."""
ENDED = ("finished", "stopped", "deleted")


@dataclass(frozen=True, kw_only=True)
class GroupState:
    """One group; counts of gateways."""

    name: str
    status: str
    total: int
    succeeded: int
    failed: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why gateways failed: a code of theirs, None for one without."""

    code: int | None
    text: str
    gateways: tuple[str, ...]
    example: tuple[str, ...]
    """What the first of them has reported."""


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """One roll-out at one moment."""

    name: str
    status: str
    groups: tuple[GroupState, ...]
    reasons: tuple[Reason, ...]
    silent: tuple[str, ...]
    """Gateways with an open order that have not polled for a while."""

    @property
    def has_failed(self) -> bool:
        """Whether the server paused it because too many gateways of a group failed."""
        return self.status == "paused" and any(one.status == "error" for one in self.groups)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in ENDED or self.has_failed

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {**asdict(self), "failed": self.has_failed}


def find(server: Server, name: str) -> int:
    """The id of a roll-out. Raises RolloutError for an unknown name."""
    known = [str(one.get("name")) for one in server.entries("/rollouts")]
    for one in server.entries("/rollouts", f'name=="{name}"'):
        if isinstance(number := one.get("id"), int):
            return number
    shown = f"it has: {', '.join(known[-10:])}" if known else "it has none"
    raise RolloutError(f"the server has no roll-out {name!r}", hint=shown)


def read(server: Server, number: int, *, silent: float) -> RolloutState:
    """The state of a roll-out; `silent` is in seconds since the last poll of a gateway."""
    rollout = server.get(f"/rollouts/{number}")
    groups = server.entries(f"/rollouts/{number}/deploygroups", representation="full")
    since = int((time.time() - silent) * 1000)
    quiet = server.entries("/targets", f"updatestatus==pending;lastcontrollerrequestat=lt={since}")
    return RolloutState(
        name=str(rollout.get("name")),
        status=str(rollout.get("status")),
        groups=tuple(_group(one) for one in groups),
        reasons=_reasons(server, number),
        silent=tuple(sorted(str(one.get("controllerId")) for one in quiet)),
    )


def drive(server: Server, number: int, verb: Verb) -> None:
    """Pause a roll-out, resume it with the next group, or stop it."""
    server.post(f"/rollouts/{number}/{verb}")


def _group(group: JsonObject) -> GroupState:
    counts = group.get("totalTargetsPerStatus")
    counts = counts if isinstance(counts, dict) else {}

    def count(*names: str) -> int:
        return sum(value for name in names if isinstance(value := counts.get(name), int))

    total = group.get("totalTargets")
    return GroupState(
        name=str(group.get("name")),
        status=str(group.get("status")),
        total=total if isinstance(total, int) else 0,
        succeeded=count("finished"),
        failed=count("error"),
        running=count("running"),
    )


def _reasons(server: Server, number: int) -> tuple[Reason, ...]:
    failed: dict[int | None, list[tuple[str, int]]] = {}
    query = f"status==ERROR;rollout.id=={number}"
    for action in server.entries("/actions", query, representation="full"):
        code, own = action.get("lastStatusCode"), action.get("id")
        if isinstance(own, int):
            key = code if isinstance(code, int) else None
            failed.setdefault(key, []).append((_target(action), own))
    counts = Counter({code: len(actions) for code, actions in failed.items()})
    return tuple(
        Reason(
            code=code,
            text=REASONS.get(code or 0, "a code of another program"),
            gateways=tuple(sorted(target for target, _ in failed[code])),
            example=_messages(server, *failed[code][0]),
        )
        for code, _ in counts.most_common()
    )


def _target(action: JsonObject) -> str:
    """The gateway of an action: the name that its link has. The link itself is not followed."""
    links = action.get("_links")
    link = links.get("target") if isinstance(links, dict) else None
    href = link.get("href") if isinstance(link, dict) else None
    return href.rstrip("/").rpartition("/")[2] if isinstance(href, str) else "?"


def _messages(server: Server, target: str, action: int) -> tuple[str, ...]:
    place = f"/targets/{quoted(target)}/actions/{action}/status"
    for status in server.entries(place):
        messages = status.get("messages")
        if status.get("type") == "error" and isinstance(messages, list):
            return tuple(str(one) for one in messages)
    return ()
