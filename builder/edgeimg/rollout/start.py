"""A roll-out at the server: who it reaches, its groups, and its beginning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeimg.errors import RolloutError
from edgeimg.rollout import plan
from edgeimg.rollout.plan import Member, Planned, Population, Role
from edgeimg.rollout.publish import find
from edgeimg.rollout.server import Server, quoted
from edgeimg.rollout.steps import Steps

Kind = Literal["forced", "soft", "downloadonly"]
PATIENCE = 300.0
"""Seconds in which the server makes the groups of a roll-out."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A roll-out that somebody asks for."""

    name: str
    image: str
    version: str
    kind: Kind
    steps: Steps


def prepare(server: Server, order: Order) -> tuple[Planned, ...]:
    """The groups of a roll-out, by what the server knows of its gateways now.

    Raises RolloutError for gateways that the server does not know or that run another image.
    """
    return plan.plan(order.steps, _population(server, order))


def start(
    server: Server, order: Order, groups: tuple[Planned, ...],
    *, sleep: Callable[[float], None] = time.sleep,
) -> int:  # fmt: skip
    """Make the roll-out, wait until the server has made its groups, start it; returns its id.

    Raises RolloutError when the version was not published, or the server is not ready in PATIENCE.
    """
    version = find(server, order.image, order.version)
    if version is None:
        raise RolloutError(
            f"the server knows no {order.image} {order.version}",
            hint="publish it first: edgeimg rollout publish",
        )
    created = server.post("/rollouts", {
        "name": order.name, "distributionSetId": version, "type": order.kind,
        "targetFilterQuery": plan.everyone(order.image, order.steps),
        "groups": [group.to_json() for group in groups],
    })  # fmt: skip
    number = created.get("id") if isinstance(created, dict) else None
    if not isinstance(number, int):
        raise RolloutError("the roll-out server's answer has no id")
    until = time.monotonic() + PATIENCE
    while (state := server.get(f"/rollouts/{number}").get("status")) != "ready":
        if state not in ("creating", "starting") or time.monotonic() > until:
            raise RolloutError(f"roll-out {order.name} was made, but it is {state} and not ready")
        sleep(1.0)
    server.post(f"/rollouts/{number}/start")
    return number


def _population(server: Server, order: Order) -> Population:
    base = plan.everyone(order.image, order.steps)
    names = [name for group in order.steps.group for name in group.gateways]
    known = _among(server, base, names)
    if unfit := [name for name in names if name not in known]:
        shown = ", ".join(unfit[:10]) + (" …" if len(unfit) > 10 else "")
        raise RolloutError(
            f"the server knows no gateway with {order.image} of this name"
            f"{' that fits only' if order.steps.only else ''}: {shown}",
            hint="a gateway reports its image at its first poll",
        )
    agents = _among(server, f"{base};attribute.role==agent", names)
    several = {name: _server_of_several(server, name) for name in _names(
        server, f"{base};attribute.role==server;attribute.ha==yes"
    )}  # fmt: skip
    named = {name: several.get(name) or _single(name, is_agent=name in agents) for name in names}
    return Population(
        singles=server.count("/targets", f"{base};attribute.role==server;attribute.ha==no"),
        agents=server.count("/targets", f"{base};attribute.role==agent"),
        several=tuple(several.values()),
        named=named,
    )


def _names(server: Server, query: str) -> Iterator[str]:
    return (str(one.get("controllerId")) for one in server.entries("/targets", query))


def _among(server: Server, query: str, names: Sequence[str]) -> set[str]:
    """Those of some names that a query has: a request for each 2,000 characters of them."""
    return {
        name
        for part in plan.parts(names)
        for name in _names(server, f"{query};controllerId=in=({','.join(part)})")
    }


def _single(name: str, *, is_agent: bool) -> Member:
    role: Role = "agent" if is_agent else "server"
    return Member(name=name, role=role, cluster="", several=False)


def _server_of_several(server: Server, name: str) -> Member:
    """A server whose cluster may have several; lists of targets do not have the cluster."""
    cluster = server.get(f"/targets/{quoted(name)}/attributes").get("cluster")
    return Member(
        name=name, role="server", cluster=cluster if isinstance(cluster, str) else "", several=True
    )
