"""What an installation is going to do, as a value: shown before, and with `--dry-run` instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeimg.flash import safety
from edgeimg.install.disks import Candidate
from edgeimg.install.machine import Machine
from edgeimg.install.rows import Found
from edgeimg.install.rules import After

_AFTER: dict[After, str] = {
    "stay": "the machine stays on",
    "reboot": "the machine restarts",
    "poweroff": "the machine turns itself off",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One installation."""

    machine: Machine
    disk: Candidate
    image: Path
    size: int
    """Bytes of the image on the disk."""
    row: Found | None
    after: After

    def lines(self) -> list[str]:
        """For people."""
        row = "none: the gateway is provisioned later"
        if self.row is not None:
            signs = f" (by {', '.join(self.row.signs)})" if self.row.signs else ""
            row = f"{self.row.gateway.name}{signs}"
        return [
            f"Machine: {self.machine.title}",
            f"Image:   {self.image.name} ({safety.human(self.size)})",
            f"Disk:    {self.disk.title}",
            f"  now:   {self.disk.content}"
            + (". All of it will be lost." if self.disk.data else ""),
            f"Gateway: {row}",
            f"Then:    {_AFTER[self.after]}",
        ]

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {
            "machine": self.machine.to_json(),
            "image": str(self.image),
            "disk": self.disk.to_json(),
            "gateway": self.row.gateway.name if self.row else None,
            "by": list(self.row.signs) if self.row else [],
            "after": self.after,
        }
