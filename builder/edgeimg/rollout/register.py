"""Gateways of a fleet → targets at the roll-out server, each with a token of its own.

A token is stored here before the server gets it: an interrupted run leaves no target with a token
that nobody has. What exists at the server is compared and never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

from edgeimg.errors import RolloutError
from edgeimg.rollout.plan import parts
from edgeimg.rollout.server import Server

_BATCH = 100
"""Targets of a request: a server makes some thirty a second, and a request may take 30 s."""
Action = Literal["register", "adopt", "exists"]
"""`adopt`: the server knows the gateway, and its token is stored here."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One gateway, and what has to be done for it."""

    name: str
    action: Action
    token: SecretStr


def plan(
    server: Server, names: Sequence[str], known: Mapping[str, SecretStr],
    new: Callable[[], SecretStr], is_token: Callable[[SecretStr], bool],
) -> tuple[Registration, ...]:  # fmt: skip
    """What to do for each name, in their order; `known` are the tokens that are stored here.

    Raises RolloutError when the server has another token for a gateway than the stored one, does
    not show the token of a gateway for which none is stored, has one that is no token for the
    agent, or has the name of a gateway in other letters.
    """
    targets, wanted = dict(_targets(server, names)), set(names)
    there = {name: token for name, token in targets.items() if name in wanted}
    _refuse(
        sorted(targets.keys() - there.keys()),
        "the server has these gateways in other letters",
        "rename or delete them there: a gateway asks for its name in lower case",
    )
    found = []
    for name in names:
        stored, shown = known.get(name), there.get(name)
        if name not in there:
            found.append(Registration(name=name, action="register", token=stored or new()))
        elif stored is not None:
            found.append(Registration(name=name, action="exists", token=stored))
        elif shown is not None:
            found.append(Registration(name=name, action="adopt", token=shown))
    _refuse(
        [name for name in there if name not in known and there[name] is None],
        "the server does not show the token of gateways for which none is stored here",
        "allow this user to read security tokens, or restore the file of tokens",
    )
    _refuse(
        [name for name, shown in there.items()
         if name not in known and shown is not None and not is_token(shown)],
        "the server has tokens that the agent cannot use, of gateways",
        "give these targets other tokens there: 1 to 128 letters, digits and signs of '._~+/=-'",
    )  # fmt: skip
    _refuse(
        [name for name, shown in there.items()
         if name in known and shown is not None
         and shown.get_secret_value() != known[name].get_secret_value()],
        "the server has another token than the stored one for gateways",
        "remove their lines from the file of tokens to adopt those of the server, and provision "
        "these gateways again",
    )  # fmt: skip
    return tuple(found)


def register(server: Server, planned: Sequence[Registration]) -> None:
    """Make the targets that are missing; their tokens have been stored. Raises RolloutError."""
    missing = [one for one in planned if one.action == "register"]
    for start in range(0, len(missing), _BATCH):
        server.post("/targets", [
            {"controllerId": one.name, "name": one.name,
             "securityToken": one.token.get_secret_value()}
            for one in missing[start : start + _BATCH]
        ])  # fmt: skip


def _refuse(names: Sequence[str], what: str, hint: str) -> None:
    if names:
        shown = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
        raise RolloutError(f"{what}: {shown}", hint=hint)


def _targets(server: Server, names: Sequence[str]) -> Iterator[tuple[str, SecretStr | None]]:
    """Targets with these names, in the server's letters, and their tokens where it shows them."""
    wanted = set(names)
    for part in parts(sorted(names)):
        for target in server.entries("/targets", f"controllerId=in=({','.join(part)})"):
            name, token = str(target.get("controllerId")), target.get("securityToken")
            # hawkBit's queries compare without case.
            if name.lower() in wanted:
                yield name, SecretStr(token) if isinstance(token, str) and token else None
