"""Which modules claim a device: the aliases of modules.alias, matched as kmod does.

An alias is a pattern of fnmatch(3) without flags, so `*` also matches `/`. In alias and device, `-`
and `_` are the same, except within brackets. All modules that match are loaded, in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from edgeimg.compose.module_files import normal_alias
from edgeimg.hardware.machine import UNKNOWN

_FIELDS = {
    "pci": ("v", "d", "sv", "sd", "bc", "sc", "i"),
    "usb": ("v", "p", "d", "dc", "dsc", "dp", "ic", "isc", "ip", "in"),
}
"""The fields of a modalias whose description may lack some, by bus."""
_SPLIT = {
    bus: re.compile(f"{bus}:" + "".join(f"{name}([^a-z]*)" for name in names))
    for bus, names in _FIELDS.items()
}
_WILD = re.compile(r"[*?\[\\]")


class Aliases:
    """The aliases of a set of modules."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """`pairs` are (alias, module), in the order of preference."""
        self._by_bus: dict[str, list[tuple[str, str, str]]] = {}
        for alias, module in pairs:
            pattern = normal_alias(alias)
            start = _WILD.split(pattern, maxsplit=1)[0]
            # A pattern that does not name its bus is asked about every device.
            bus = start.partition(":")[0] if ":" in start else ""
            self._by_bus.setdefault(bus, []).append((start, pattern, module))

    def modules(self, modalias: str) -> tuple[str, ...]:
        """The modules that claim the device.

        Where the modalias has UNKNOWN fields, the modules that may claim it: known fields match,
        and at least one of them is in the alias.
        """
        wanted = normal_alias(modalias)
        bus = wanted.partition(":")[0]
        partial = bus in _FIELDS and UNKNOWN in wanted
        known = wanted.partition(UNKNOWN)[0] if partial else wanted
        found: dict[str, None] = {}
        for start, pattern, module in (*self._by_bus.get(bus, ()), *self._by_bus.get("", ())):
            if partial:
                near = known.startswith(start) or start.startswith(known)
                fits = near and _may_fit(wanted, pattern)
            else:
                fits = known.startswith(start) and _fnmatch(wanted, pattern)
            if fits:
                found[module] = None
        return tuple(found)


def parse(text: str) -> list[tuple[str, str]]:
    """The (alias, module) pairs of a file modules.alias. Lines of another form are left out:
    depmod writes comments.
    """
    rows = (line.rpartition(" ") for line in text.splitlines() if line.startswith("alias "))
    return [(alias.removeprefix("alias "), module) for alias, _, module in rows]


def fields(modalias: str) -> Mapping[str, str]:
    """The fields of a modalias of PCI or USB by their names; empty for others."""
    bus = modalias.partition(":")[0]
    found = _SPLIT[bus].fullmatch(modalias) if bus in _SPLIT else None
    return dict(zip(_FIELDS[bus], found.groups(), strict=True)) if found else {}


def _may_fit(modalias: str, pattern: str) -> bool:
    own, claimed = fields(modalias), fields(pattern)
    if not own or not claimed:
        return False
    shared = [
        (own[name], claimed[name])
        for name in own
        if own[name] != UNKNOWN and claimed[name] != UNKNOWN
    ]
    return bool(shared) and all(_fnmatch(value, part) for value, part in shared)


def _fnmatch(name: str, pattern: str) -> bool:
    # fnmatch(3) also takes `[^…]`, and `\` before a character that stands for itself.
    pattern = re.sub(r"\\(.)", r"[\1]", pattern.replace("[^", "[!"))
    return fnmatchcase(name, pattern)
