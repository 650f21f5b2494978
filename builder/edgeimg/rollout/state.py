"""How a roll-out goes: its groups, why gateways failed, and which ones are silent."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Literal

from edgeimg.errors import RolloutError
from edgeimg.report.rollout import GroupFacts, ReasonFacts
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
_BEGUN = ("running", "finished", "error")
"""Statuses of groups."""
_SHOWN = 10
"""Names in the hint for an unknown roll-out."""


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """One roll-out at one moment."""

    name: str
    status: str
    groups: tuple[GroupFacts, ...]
    reasons: tuple[ReasonFacts, ...]
    silent: tuple[str, ...]
    """Its gateways with an open order that have not polled for a while."""

    @property
    def has_failed(self) -> bool:
        """Whether it is paused because too many gateways of the group that began last failed.

        A group that failed before a resume keeps its status.
        """
        begun = [one.status for one in self.groups if one.status in _BEGUN]
        return self.status == "paused" and begun[-1:] == ["error"]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in ENDED or self.has_failed

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {**asdict(self), "failed": self.has_failed}


def find_rollout(server: Server, name: str) -> int:
    """The id of a roll-out. Raises RolloutError for an unknown name."""
    # Not by a query: there, `*` stands for any text.
    latest: deque[str] = deque(maxlen=_SHOWN)
    for one in server.entries("/rollouts"):
        if one.get("name") == name and isinstance(number := one.get("id"), int):
            return number
        latest.append(str(one.get("name")))
    shown = f"it has: {', '.join(latest)}" if latest else "it has no roll-out"
    raise RolloutError(f"the server has no roll-out {name!r}", hint=shown)


def read_state(server: Server, number: int, *, silent: float) -> RolloutState:
    """The state of a roll-out; `silent` is in seconds since the last poll of a gateway."""
    rollout = server.get(f"/rollouts/{number}")
    place = f"/rollouts/{number}/deploygroups"
    groups = list(server.entries(place, representation="full"))
    since = int((time.time() - silent) * 1000)
    query = f"updatestatus==pending;lastcontrollerrequestat=lt={since}"
    quiet = [
        str(target.get("controllerId"))
        for group in groups
        if group.get("status") in _BEGUN
        for target in server.entries(f"{place}/{group.get('id')}/targets", query)
    ]
    return RolloutState(
        name=str(rollout.get("name")),
        status=str(rollout.get("status")),
        groups=tuple(_group(one) for one in groups),
        reasons=_reasons(server, number),
        silent=tuple(sorted(quiet)),
    )


def drive_rollout(server: Server, number: int, verb: Verb) -> None:
    """Pause a roll-out, resume it with the next group, or stop it."""
    server.post(f"/rollouts/{number}/{verb}")


def _group(group: JsonObject) -> GroupFacts:
    counts = group.get("totalTargetsPerStatus")
    counts = counts if isinstance(counts, dict) else {}

    def count(*names: str) -> int:
        return sum(value for name in names if isinstance(value := counts.get(name), int))

    total = group.get("totalTargets")
    return GroupFacts(
        name=str(group.get("name")),
        status=str(group.get("status")),
        total=total if isinstance(total, int) else 0,
        succeeded=count("finished"),
        failed=count("error"),
        running=count("running"),
    )


def _reasons(server: Server, number: int) -> tuple[ReasonFacts, ...]:
    failed: dict[int | None, list[tuple[str, int]]] = {}
    query = f"status==ERROR;rollout.id=={number}"
    for action in server.entries("/actions", query, representation="full"):
        code, own = action.get("lastStatusCode"), action.get("id")
        if isinstance(own, int):
            key = code if isinstance(code, int) else None
            failed.setdefault(key, []).append((target(action), own))
    counts = Counter({code: len(actions) for code, actions in failed.items()})
    return tuple(
        ReasonFacts(
            code=code,
            text=REASONS.get(code or 0, "a code of another program"),
            gateways=tuple(sorted(target for target, _ in failed[code])),
            example=_messages(server, *failed[code][0]),
        )
        for code, _ in counts.most_common()
    )


def target(action: JsonObject) -> str:
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
