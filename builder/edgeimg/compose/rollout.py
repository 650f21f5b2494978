"""The settings of the roll-out agent: where its server is, and how often it asks."""

from __future__ import annotations

from edgeimg.errors import RecipeError
from edgeimg.recipe.rollout import Rollout
from edgeimg.tree import Tree, file

SETTINGS = "usr/lib/edgeimg/rollout.conf"
"""What the agent reads of [rollout]: `KEY=value` lines, as in its rollout.env."""
TIMER = "edgeimg-rollout.timer"
_AGENT = "usr/lib/edgeimg/rollout"
_PROGRAMS = (_AGENT, "usr/bin/curl", "usr/bin/jq", "usr/bin/edgeimg-update")
_ORIGIN = "edgeimg"


def compose(rollout: Rollout | None) -> Tree:
    """What [rollout] puts into the root; an empty tree without it."""
    if rollout is None:
        return Tree()
    server = f"SERVER={rollout.server}\n" if rollout.server else ""
    texts = {
        SETTINGS: f"{server}TENANT={rollout.tenant}\n",
        f"usr/lib/systemd/system/{TIMER}.d/poll.conf": (
            f"[Timer]\nOnUnitInactiveSec=\nOnBootSec=1min\nOnUnitInactiveSec={rollout.poll}min\n"
        ),
        "usr/lib/systemd/system-preset/05-edgeimg-rollout.preset": f"enable {TIMER}\n",
    }
    nodes = {path: file(text.encode(), origin=_ORIGIN) for path, text in texts.items()}
    return Tree().with_nodes(nodes)


def require_programs(root: Tree, rollout: Rollout | None) -> None:
    """Raises RecipeError when [rollout] is given, and the root has no agent or a part is missing,
    or there is an agent without [rollout].
    """
    if rollout is None and _AGENT in root:
        raise RecipeError(
            "the image has a roll-out agent, but the recipe has no [rollout]",
            hint='add [rollout], with server = "https://…" or with SERVER in rollout.env',
        )
    missing = [path for path in _PROGRAMS if path not in root]
    if rollout is not None and missing:
        raise RecipeError(
            f"[rollout] is given, but the image lacks {missing[0]}",
            hint='include = ["gateway.toml", "updates.toml", "rollout.toml"]',
        )
