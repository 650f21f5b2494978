"""Facts of a roll-out for the tests of its report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeimg.report.rollout import GatewayFacts, GroupFacts, ReasonFacts, Result, RolloutFacts

HOSTILE = "</style><script>document.title='bad'</script>\"'&<img src=x onerror=alert(1)>"
BEGAN = 1_764_400_000_000
HOUR = 3_600_000


def facts(**changes: Any) -> RolloutFacts:
    """Ten gateways at two sites: seven updated, one failed, one silent, one not reached."""
    results: list[Result] = ["updated"] * 7 + ["failed", "open", "open"]
    gateways = tuple(
        GatewayFacts(
            name=f"gw-{number:04}", site="south" if number > 5 else "north", result=result,
            ended=None if result == "open" else BEGAN + HOUR * number // 2,
            polled=BEGAN + HOUR, silent=number == 8,
        )
        for number, result in enumerate(results)
    )  # fmt: skip
    usual = RolloutFacts(
        name="gateway 0.3.0", version="0.3.0", status="paused", has_failed=True,
        at=BEGAN + 5 * HOUR, began=BEGAN,
        groups=(
            GroupFacts(name="canary", status="finished", total=3, succeeded=3, failed=0, running=0),
            GroupFacts(name="half", status="error", total=6, succeeded=4, failed=1, running=1),
            GroupFacts(name="rest", status="scheduled", total=1, succeeded=0, failed=0, running=0),
        ),
        reasons=(ReasonFacts(code=21, text="K3s did not run in time", gateways=("gw-0007",),
                             example=("K3s is activating 900 s after the start",)),),
        gateways=gateways,
    )  # fmt: skip
    return replace(usual, **changes)


def hostile() -> RolloutFacts:
    """Everything that is text says HOSTILE."""
    usual = facts()
    return replace(
        usual,
        name=HOSTILE, version=HOSTILE, status=HOSTILE,
        groups=tuple(replace(one, name=HOSTILE, status=HOSTILE) for one in usual.groups),
        reasons=(ReasonFacts(code=None, text=HOSTILE, gateways=(HOSTILE,), example=(HOSTILE,)),),
        gateways=tuple(replace(one, name=HOSTILE, site=HOSTILE) for one in usual.gateways),
    )  # fmt: skip
