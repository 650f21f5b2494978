"""From gateways to labels."""

from __future__ import annotations

from dataclasses import dataclass

from edgeimg.fleet import label, printing
from edgeimg.fleet.label import Facts, Label
from edgeimg.fleet.reading import Gateway


@dataclass(frozen=True, kw_only=True)
class Style:
    """How labels look."""

    size: tuple[float, float] = label.SIZE
    """Millimetres."""
    dpi: int = printing.DPI
    url: str | None = None
    """What the code holds instead of text; see `label.content`."""


def plan(gateway: Gateway, style: Style, *, image: str = "") -> Label:
    """A gateway's label; `image` is name and version. Raises HostError when it does not fit."""
    facts = Facts(
        name=gateway.name,
        mac=gateway.mac,
        serial=gateway.box.serial or "",
        disk_serial=gateway.box.disk_serial or "",
        image=image,
    )
    wide, high = style.size
    return label.plan(facts, wide, high, dpi=style.dpi, width=printing.width, url=style.url)
