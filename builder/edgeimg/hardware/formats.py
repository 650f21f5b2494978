"""The formats of a machine's description, a line at a time.

`edgeimg-status --hardware`; lspci(8) with -nn or -n; lsusb(8), with or without -v; modalias lines
of /sys, as `cat`, `grep -r` or `udevadm info --export-db` print them; lines of `compatible`.
A format returns None for a line that is not its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeimg.errors import MachineError
from edgeimg.hardware.description import Description
from edgeimg.hardware.lsusb import Lsusb
from edgeimg.hardware.machine import UNKNOWN, Device

HEADER = "edgeimg-hardware 1"
_FACTS = {
    "image", "arch", "kernel", "vendor", "product", "model", "memory", "firmware", "loader",
    "console", "watchdog", "disk",
}  # fmt: skip
_NAME = r"[a-zA-Z0-9_-]{1,64}"
_MODALIAS = re.compile(r"(?:(?P<path>.*?/modalias):)?(?P<alias>[a-z][a-z0-9_-]*:\S.*)")
_UDEV = re.compile(r"(?:E: )?(?P<key>MODALIAS|DRIVER)=(?P<value>.*)")
_PCI = re.compile(
    r"(?P<place>(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) "
    r"(?:(?P<kind>[^\[]*)\[(?P<class>[0-9a-f]{4})\]: (?P<name>.*)"
    r"\[(?P<ids>[0-9a-f]{4}:[0-9a-f]{4})\]"
    r"|(?P<bare_class>[0-9a-f]{4}): (?P<bare_ids>[0-9a-f]{4}:[0-9a-f]{4}))"
    r"(?: \(rev [0-9a-f]{2}\))?(?: \(prog-if (?P<interface>[0-9a-f]{2})[^)]*\))?"
)
_PCI_NO_IDS = re.compile(r"(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] [A-Z][^:\[]*: .*")
_SUBSYSTEM = re.compile(r"\s+Subsystem: .*?\[?(?P<ids>[0-9a-f]{4}:[0-9a-f]{4})\]?")
_PCI_DRIVER = re.compile(r"\s+Kernel (?:driver in use|modules): (?P<names>.*)")
_WORD = re.compile(r"[A-Za-z0-9][\w.+-]*(?:,[\w.+/-]+)?")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.replace("-", "_") for name in re.findall(_NAME, text))


class Status:
    """`edgeimg-status --hardware`: after HEADER, a keyword and its value on each line."""

    def __init__(self, found: Description) -> None:
        self._found, self._inside = found, False

    def take(self, line: str) -> bool:
        """Whether the line is of this format; its contents are kept."""
        if line == HEADER:
            self._inside = True
            return True
        if line.startswith("edgeimg-hardware "):
            raise MachineError(
                f"this description is of another version: {line[:40]!r}",
                hint="use an edgeimg of the version that wrote it",
            )
        key, _, value = line.partition(" ")
        if not self._inside or not value:
            return False
        if key == "device":
            return self._device(value)
        if key == "compatible":
            self._found.compatible = tuple(value.split())
        elif key in _FACTS:
            self._found.facts.append((key, value.strip()))
        else:
            return False
        return True

    def _device(self, value: str) -> bool:
        parts = value.split(" ", 3)
        if len(parts) != 4 or not (found := _MODALIAS.fullmatch(parts[3])):
            return False
        if not is_modalias(found["alias"]):
            return False
        used = [name for part in parts[1:3] if part != "-" for name in _names(part)]
        self._found.devices.append(
            Device(
                modalias=found["alias"],
                place=parts[0].removeprefix("/devices/"),
                modules=tuple(dict.fromkeys(used)),
            )
        )
        return True


class Lspci:
    """`lspci -nnk`, `lspci -nnv` or `lspci -n`."""

    def __init__(self, found: Description) -> None:
        self._found, self._at = found, -1

    def take(self, line: str) -> bool:
        """As `Status.take`. Indented lines below a device are its details."""
        if found := _PCI.match(line):
            self._at = len(self._found.devices)
            self._found.devices.append(_pci(found))
            return True
        if _PCI_NO_IDS.fullmatch(line):
            raise MachineError("this output of lspci has no ids", hint="use `lspci -nnk`")
        if not line[0].isspace():
            self._at = -1
        if self._at < 0:
            return False
        device = self._found.devices[self._at]
        if found := _SUBSYSTEM.match(line):
            vendor, _, model = found["ids"].upper().partition(":")
            alias = device.modalias.replace("sv*sd*", f"sv0000{vendor}sd0000{model}")
            self._found.devices[self._at] = replace(device, modalias=alias)
        elif found := _PCI_DRIVER.match(line):
            names = dict.fromkeys((*device.modules, *_names(found["names"])))
            self._found.devices[self._at] = replace(device, modules=tuple(names))
        return True


def _pci(found: re.Match[str]) -> Device:
    vendor, _, model = (found["ids"] or found["bare_ids"]).upper().partition(":")
    kind = (found["class"] or found["bare_class"]).upper()
    interface = (found["interface"] or UNKNOWN).upper()
    return Device(
        modalias=f"pci:v0000{vendor}d0000{model}sv*sd*bc{kind[:2]}sc{kind[2:]}i{interface}",
        place=found["place"],
        title=(found["name"] or "").strip(),
    )


class Udev:
    """`udevadm info --export-db`, and files `uevent` of /sys."""

    def __init__(self, found: Description) -> None:
        self._found, self._place, self._driver, self._open = found, "", "", False

    def take(self, line: str) -> bool:
        """As `Status.take`. DRIVER stands before MODALIAS, both below the path of the device."""
        if line.startswith("P: /"):
            self._place, self._driver, self._open = line[3:].strip(), "", True
            return True
        if found := _UDEV.fullmatch(line):
            if found["key"] == "DRIVER":
                self._driver = found["value"]
                return True
            alias = _MODALIAS.fullmatch(found["value"])
            if alias is None or not is_modalias(alias["alias"]):
                return False
            device = Device(
                modalias=alias["alias"],
                place=self._place.removeprefix("/devices/"),
                modules=_names(self._driver),
            )
            self._driver = ""
            self._found.devices.append(device)
            return True
        return self._open and re.match(r"[A-Z]: ", line) is not None


class Modalias:
    """Modalias lines, alone or behind the path of their file."""

    def __init__(self, found: Description) -> None:
        self._found = found

    def take(self, line: str) -> bool:
        """As `Status.take`."""
        found = _MODALIAS.fullmatch(line.strip())
        if found is None or not is_modalias(found["alias"]):
            return False
        place = (found["path"] or "").removesuffix("/modalias").rpartition("/devices/")[2]
        self._found.devices.append(Device(modalias=found["alias"], place=place))
        return True


class Compatible:
    """Lines of `compatible`: of the board alone, or of nodes behind their paths."""

    def __init__(self, found: Description) -> None:
        self._found = found

    def take(self, line: str) -> bool:
        """As `Status.take`."""
        words = line.split()
        path = words.pop(0).rstrip(":") if words and words[0].startswith("/") else ""
        node = re.sub(r"^.*/(?:device-tree|devicetree/base)(?=/|$)", "", path).rstrip("/")
        if not words or not all(_WORD.fullmatch(word) for word in words):
            return False
        # `/dev/sda1 swap` is no node: a compatible has a vendor, or its node an address.
        if node and node == path and "@" not in path and not any("," in word for word in words):
            return False
        if not node:
            if not all("," in word for word in words):
                return False
            self._found.compatible = tuple(words)
            return True
        alias = f"of:N*T*{''.join(f'C{word}' for word in words)}"
        self._found.devices.append(Device(modalias=alias, place=node))
        return True


Format = Status | Lspci | Lsusb | Udev | Modalias | Compatible


def all_formats(found: Description) -> Sequence[Format]:
    """One reader of each format, in the order in which they are asked about a line."""
    return [
        Status(found),
        Lspci(found),
        Lsusb(found),
        Udev(found),
        Modalias(found),
        Compatible(found),
    ]


BUSES = frozenset({
    "acpi", "amba", "auxiliary", "bcma", "cpu", "dfl", "dmi", "eisa", "fsl_mc", "gameport",
    "hdaudio", "hid", "i2c", "i3c", "input", "ipack", "isapnp", "mdio", "mei", "mhi", "nd", "of",
    "pci", "pcmcia", "platform", "pnp", "rpmsg", "scsi", "sdio", "sdw", "serio", "slim", "spi",
    "spmi", "ssb", "svc", "tbsvc", "tc", "tee", "typec", "ulpi", "usb", "vchiq", "virtio", "vmbus",
    "w1", "wmi", "xen", "xen-backend", "zorro",
})  # fmt: skip
"""What modaliases of the kernel begin with (scripts/mod/file2alias.c)."""


def is_modalias(text: str) -> bool:
    """Whether a text may be a modalias of the kernel, which names no pattern of pci or usb.

    A pattern fits thousands of aliases, and a file of them would take hours.
    """
    bus = text.partition(":")[0]
    return bus in BUSES and not (bus in ("pci", "usb") and "*" in text)


def lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers from 1."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.rstrip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped
