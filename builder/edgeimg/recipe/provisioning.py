"""[provision]: what a gateway takes from its config partition, which anybody with the card writes.

Options of K3s beyond `harmless.HARMLESS` need the recipe's consent. The image carries the same list
(`table`), so that the gateway and `edgeimg provision` decide alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from edgeimg.recipe.harmless import HARMLESS
from edgeimg.recipe.types import OverlayPath
from edgeimg.text.validation import Table

PASS_THROUGH = "-arg"  # noqa: S105
"""Options whose name ends so hand options to another program: 'kubelet-arg'."""
SCRIPT = "script"
_EVERYTHING = ".*"
_ALLOWED = re.compile(
    r"script|k3s\.(\*|[a-z][a-z0-9-]*(?<!-arg)|[a-z][a-z0-9-]*-arg\.(\*|[a-z][a-z0-9-]*))"
)
_FLAG = re.compile("[a-z][a-z0-9-]*")


def _consent(name: str) -> str:
    if not _ALLOWED.fullmatch(name):
        raise ValueError(
            "expected 'script', or options of K3s such as 'k3s.etcd-expose-metrics', "
            "'k3s.kubelet-arg.feature-gates', 'k3s.kubelet-arg.*' or 'k3s.*'"
        )
    return name


Consent = Annotated[str, AfterValidator(_consent)]


class Provisioning(Table):
    """What a gateway takes from its config partition beyond the harmless."""

    allow: tuple[Consent, ...] = Field(
        (),
        description="what else is taken: 'script' (a shell script, run as root), options of K3s "
        "such as 'k3s.kubelet-arg.feature-gates', 'k3s.kubelet-arg.*' or 'k3s.*'. With most of "
        "them, who can write to the config partition, which anybody can who holds the card, owns "
        "the gateway",
    )
    script: bool = Field(False, description="the same as 'script' in `allow`")
    key: OverlayPath | None = Field(
        None,
        description="public key file, relative to the project; gateways refuse settings that it "
        "has not signed (`edgeimg provision --sign`)",
    )

    @property
    def allowed(self) -> tuple[str, ...]:
        """All consents, sorted."""
        return tuple(sorted({*self.allow, *([SCRIPT] if self.script else [])}))


def allows(allowed: Sequence[str], name: str) -> bool:
    """Whether consents cover a name such as `k3s.kubelet-arg.feature-gates`."""
    prefixes = (one.removesuffix("*") for one in allowed if one.endswith(_EVERYTHING))
    return name in allowed or any(name.startswith(prefix) for prefix in prefixes)


def refused(option: str, value: str, allowed: Sequence[str]) -> str | None:
    """Why a card may not give this option of K3s this value; None when it may.

    The gateway decides the same with `table` (provision-k3s.awk).
    """
    name = option.removesuffix("+")
    if name.endswith(PASS_THROUGH):
        flag, _, value = value.partition("=")
        if name == option and not allows(allowed, f"k3s.{name}.*"):
            return f"expected '{name}+', which adds to what the image says"
        if not _FLAG.fullmatch(flag):
            return "expected NAME=VALUE"
        name = f"{name}.{flag}"
    if allows(allowed, f"k3s.{name}"):
        return None
    known = HARMLESS.get(name)
    if known is None:
        return f"needs the consent of the image's recipe: {consent(name)}"
    if not re.fullmatch(known.values, value):
        where = f"{name.partition('.')[2]}: " if "." in name else ""
        return f"{where}expected {known.expected}"
    return None


def consent(name: str) -> str:
    """How a recipe allows an option of K3s, or every flag of an option that hands them on."""
    if name.endswith(PASS_THROUGH) and "." not in name:
        name = f"{name}.*"
    return f'[provision] allow = ["k3s.{name}"]'


def is_known(name: str, allowed: Sequence[str]) -> bool:
    """Whether a card may say an option of K3s at all, with one value or the other."""
    passed = f"{name}."
    return (
        name in HARMLESS
        or any(one.startswith(passed) for one in HARMLESS)
        or allows(allowed, f"k3s.{name}")
        or any(one.startswith(f"k3s.{passed}") for one in allowed)
    )


def is_for_servers(name: str) -> bool:
    """Whether agents do not have this option; of those beyond `HARMLESS` nothing is known."""
    return any(option.server for one, option in HARMLESS.items() if one.partition(".")[0] == name)


def table(allowed: Sequence[str]) -> bytes:
    """The file of the root that the gateway's checks read: a line for each option and consent.

    `option NAME any|server EXPRESSION EXPECTED` and `allow NAME`, with tabs between them; the
    expression is of a whole value.
    """
    lines = [
        "\t".join(("option", name, "server" if option.server else "any",
                   f"^({option.values})$", option.expected))
        for name, option in HARMLESS.items()
    ]  # fmt: skip
    lines += [f"allow\t{name}" for name in allowed]
    return "".join(f"{line}\n" for line in lines).encode()
