"""What the roll-out server knows of one roll-out, for its report."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Set

from edgeimg.report.rollout import GatewayFacts, Result, RolloutFacts
from edgeimg.rollout.server import Server, quoted
from edgeimg.rollout.state import read_state, target
from edgeimg.text.json_text import JsonObject

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Sites that can be asked for in a query. Gateways report them: others may be anything."""


def read_facts(server: Server, number: int, *, silent: float) -> RolloutFacts:
    """The facts; `silent` is in seconds since the last poll of a gateway. Raises RolloutError."""
    state = read_state(server, number, silent=silent)
    place = f"/rollouts/{number}/deploygroups"
    polled = {
        str(target.get("controllerId")): _time(target, "lastControllerRequestAt")
        for group in list(server.entries(place))
        for target in server.entries(f"{place}/{group.get('id')}/targets")
    }
    ended: dict[str, tuple[Result, int | None]] = {}
    starts = []
    results: tuple[tuple[str, Result], ...] = (("FINISHED", "updated"), ("ERROR", "failed"))
    for status, result in results:
        query = f"status=={status};rollout.id=={number}"
        for action in server.entries("/actions", query, representation="full"):
            ended[target(action)] = result, _time(action, "lastModifiedAt")
            starts.append(_time(action, "createdAt"))
    sites, quiet = _sites(server, polled.keys()), set(state.silent)
    return RolloutFacts(
        name=state.name,
        version=_version(server, number),
        status=state.status,
        has_failed=state.has_failed,
        at=int(time.time() * 1000),
        began=min((one for one in starts if one is not None), default=None),
        groups=state.groups,
        reasons=state.reasons,
        gateways=tuple(
            GatewayFacts(
                name=name, site=sites[name], polled=polled[name], silent=name in quiet,
                result=ended[name][0] if name in ended else "open",
                ended=ended[name][1] if name in ended else None,
            )
            for name in sorted(polled)
        ),
    )  # fmt: skip


def _version(server: Server, number: int) -> str:
    found = server.get(f"/rollouts/{number}").get("distributionSetId")
    return str(server.get(f"/distributionsets/{quoted(str(found))}").get("version", ""))


def _sites(server: Server, names: Set[str]) -> dict[str, str]:
    """The site of each gateway. Lists of targets do not have it: a site is asked for once."""
    found = dict.fromkeys(names, "")
    left = names & set(_named(server, "attribute.site==*"))
    while left:
        name = min(left)
        site = server.get(f"/targets/{quoted(name)}/attributes").get("site")
        found[name] = site if isinstance(site, str) else ""
        same = {name}
        if _PLAIN.fullmatch(found[name]):
            same |= left & set(_named(server, f"attribute.site=={found[name]}"))
        found |= dict.fromkeys(same, found[name])
        left -= same
    return found


def _named(server: Server, query: str) -> Iterator[str]:
    return (str(one.get("controllerId")) for one in server.entries("/targets", query))


def _time(entry: JsonObject, key: str) -> int | None:
    value = entry.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
