"""What this machine says of itself: maker, model, serial number, network cards."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

SYS = Path("/sys")
_DMI = "class/dmi/id"
_TREE = "firmware/devicetree/base"
_PLACEHOLDER = re.compile(
    r"(to be filled by o\.?e\.?m\.?|o\.?e\.?m\.?|default( string)?|none|n/?a|null|empty|unknown|"
    r"invalid|not (specified|applicable|available)|"
    r"((system|chassis|product|base ?board) )?(serial ?(number|no\.?)|s/n)|0?1234567890?|"
    r"[0xf -]*|[.*?]*)",
    re.I,
)
"""What makers leave in the place of a serial number."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """This machine. An identifier that its firmware does not have is empty."""

    maker: str = ""
    model: str = ""
    serial: str = ""
    """Of the product: DMI (SMBIOS 3.7, 7.2.1), or the device tree."""
    macs: tuple[str, ...] = ()
    """Of its network cards, in lower case; virtual ones are left out."""

    @property
    def name(self) -> str:
        """Its serial number or first MAC address, for names of files; empty without both."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", self.serial or next(iter(self.macs), ""))

    @property
    def title(self) -> str:
        """One line for people."""
        name = " ".join(filter(None, (self.maker, self.model))) or "unknown model"
        serial = f"serial number {self.serial}" if self.serial else "no serial number"
        return ", ".join([name, serial, *(f"MAC {mac}" for mac in self.macs)])

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return asdict(self)


def read(sys: Path | None = None) -> Machine:
    """This machine, as sysfs describes it; `sys` is where that is mounted."""
    root = sys or SYS
    serials = (_text(root / _DMI / "product_serial"), _text(root / _TREE / "serial-number"))
    return Machine(
        maker=_text(root / _DMI / "sys_vendor"),
        model=_text(root / _DMI / "product_name") or _text(root / _TREE / "model"),
        serial=next((one for one in serials if not _PLACEHOLDER.fullmatch(one)), ""),
        macs=tuple(
            mac
            for card in sorted((root / "class/net").glob("*"))
            if (card / "device").exists()
            if (mac := _text(card / "address").lower()).strip("0:")
        ),
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace").strip(" \0\n\t")
    except OSError:
        return ""
