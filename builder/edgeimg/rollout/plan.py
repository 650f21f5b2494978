"""Steps and gateways → the groups of a roll-out at the server. Plain values; nothing is changed.

K3s asks for two rules, whatever the steps are. Servers come before agents, so the steps are gone
through twice. Servers of one cluster never restart together: where a cluster has several, each
group has at most one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeimg.errors import RolloutError
from edgeimg.rollout.steps import Group, Steps
from edgeimg.text.json_text import JsonObject

Role = Literal["server", "agent"]
QUERY = 2000
"""Characters of a group's query; the server accepts some more."""
GROUPS = 500
"""The most groups of a roll-out at the server."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A gateway that steps name, or a server of a cluster with several."""

    name: str
    role: Role
    cluster: str
    """Of a server with `several`; empty when the gateway has not reported it."""
    several: bool
    """Whether its cluster may have several servers."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """The gateways that a roll-out reaches."""

    singles: int
    """Servers that are alone in their cluster."""
    agents: int
    several: tuple[Member, ...]
    named: Mapping[str, Member]
    """By name, those that the steps name."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A group at the server; `query` is RSQL, `percent` counts what earlier groups left."""

    name: str
    query: str
    percent: int
    success: int
    failures: int
    gateways: int
    """How many it is expected to have."""

    def to_json(self) -> JsonObject:
        """As the server's interface has it."""
        return {
            "name": self.name,
            "targetFilterQuery": self.query,
            "targetPercentage": self.percent,
            "successCondition": {"condition": "THRESHOLD", "expression": str(self.success)},
            "successAction": {"action": "NEXTGROUP"},
            "errorCondition": {"condition": "THRESHOLD", "expression": str(self.failures)},
            "errorAction": {"action": "PAUSE"},
        }


def everyone(image: str, steps: Steps) -> str:
    """The RSQL query of all gateways that a roll-out of this image reaches."""
    conditions = (f"attribute.image=={image}", *steps.only, "attribute.role=in=(server,agent)")
    return ";".join(conditions)


def plan(steps: Steps, population: Population) -> tuple[Planned, ...]:
    """The groups, without those that would be empty.

    Raises RolloutError when a group names two servers of one cluster, or there are no gateways.
    """
    _refuse_neighbours(steps, population)
    groups = (
        *_pass(steps, population, "server"),
        *_one_by_one(steps, population),
        *_pass(steps, population, "agent"),
    )
    if not groups:
        raise RolloutError(
            "no gateway fits: none has reported this image to the roll-out server",
            hint="look at `only` in the steps, and whether the gateways poll",
        )
    if len(groups) > GROUPS:
        raise RolloutError(f"{len(groups)} groups are needed, and the server takes {GROUPS}")
    return groups


def _refuse_neighbours(steps: Steps, population: Population) -> None:
    for group in steps.group:
        members = [population.named[name] for name in group.gateways]
        clusters = Counter(one.cluster for one in members if one.role == "server" and one.several)
        for cluster, count in clusters.items():
            if count > 1:
                names = [one.name for one in members if one.cluster == cluster]
                raise RolloutError(
                    f"group {group.name} has several servers of one cluster: {', '.join(names)}",
                    hint="put them into different groups: one has to stay while another restarts",
                )


def _pass(steps: Steps, population: Population, role: Role) -> Iterator[Planned]:
    """The steps for gateways of one role."""
    named = [one for one in population.named.values() if one.role == role and not one.several]
    rest = (population.singles if role == "server" else population.agents) - len(named)
    query = (
        f"attribute.role=={role};attribute.ha==no" if role == "server" else "attribute.role==agent"
    )
    for group in steps.group:
        if group.percent is None:
            members = [
                m for m in map(population.named.__getitem__, group.gateways) if m.role == role
            ]
            yield from _listed(f"{group.name}, {role}s", members, group)
        elif size := round(rest * group.percent / 100):
            rest -= size
            yield Planned(
                name=f"{group.name}, {role}s", query=query, percent=group.percent,
                success=group.needed, failures=group.failures, gateways=size,
            )  # fmt: skip


def _one_by_one(steps: Steps, population: Population) -> Iterator[Planned]:
    """Servers of clusters with several: the first of each cluster, then the second, …"""
    ranks: dict[int, list[Member]] = {}
    count: Counter[str] = Counter()
    for member in sorted(population.several, key=lambda one: (one.cluster, one.name)):
        if member.name not in population.named:
            ranks.setdefault(count[member.cluster], []).append(member)
            count[member.cluster] += 1
    for rank, members in sorted(ranks.items()):
        yield from _listed(f"server {rank + 1} of each cluster", members, steps.group[-1])


def _listed(name: str, members: Sequence[Member], group: Group) -> Iterator[Planned]:
    """Groups of gateways by name, as many as the length of queries asks for."""
    lists = list(parts(sorted(one.name for one in members)))
    for number, part in enumerate(lists, 1):
        yield Planned(
            name=f"{name} ({number})" if len(lists) > 1 else name,
            query=f"controllerId=in=({','.join(part)})", percent=100,
            success=group.needed, failures=group.failures, gateways=len(part),
        )  # fmt: skip


def parts(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in lists that fit into one query each."""
    part: list[str] = []
    for name in names:
        if part and sum(len(one) + 1 for one in part) + len(name) > QUERY:
            yield part
            part = []
        part.append(name)
    if part:
        yield part
