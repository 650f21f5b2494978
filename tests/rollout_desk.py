"""The desk's commands of a roll-out, and a fleet at the server."""

from __future__ import annotations

from typing import Any

from edgeimg.cli import cli
from edgeimg.cli.answer import Answer

from tests.hawkbit import HawkBit

STEPS = """
[[group]]
name = "canary"
gateways = ["gw1", "agent1"]

[[group]]
name = "half"
percent = 50
failures = 10

[[group]]
name = "rest"
percent = 100
failures = 20
"""


def run(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json."""
    answer = Answer()
    words = ["rollout", *map(str, arguments), "--json"]
    cli.main(words, standalone_mode=False, obj=answer)
    return answer._parts


def fleet(server: HawkBit, *, singles: int = 4, agents: int = 2) -> None:
    common = {"image": "gw", "version": "1.0.0", "ha": "no"}
    for number in range(1, singles + 1):
        server.add(f"gw{number}", role="server", **common)
    for number in range(1, agents + 1):
        server.add(f"agent{number}", role="agent", **common)
