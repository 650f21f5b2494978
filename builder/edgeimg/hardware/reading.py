"""The file in which a machine describes itself, read within bounds."""

from __future__ import annotations

import re
from pathlib import Path

from edgeimg.errors import MachineError
from edgeimg.hardware import formats
from edgeimg.hardware.description import Description
from edgeimg.hardware.machine import Machine
from edgeimg.text import bounded

BYTES = 8 << 20
"""Of the file: a server's `udevadm info --export-db` has some 3 MB."""
LINE = 8 << 10
"""Characters of a line. A file of /sys has at most 4,096; modaliases of processors some 2,000."""
DEVICES = 2048
MODALIASES = 512 << 10
"""Characters of all modaliases, each of which is compared with some 20,000 patterns."""
_HINT = (
    "expected the output of `edgeimg-status --hardware`, `lspci -nnk`, `lsusb` or "
    "`cat /sys/bus/*/devices/*/modalias`, or several of them in one file"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def read(path: Path) -> Machine:
    """The machine in the file `path`; formats may stand one after the other.

    Raises MachineError for a file that cannot be read, is too large or has no device.
    """
    try:
        data = bounded.read(path, BYTES)
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror}") from error
    return parse(data, path.name)


def parse(data: bytes, name: str) -> Machine:
    """The machine in the bytes of a file that messages call `name`; see `read`."""
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n")
    text = text.replace("\0", " ")  # between the words of a device tree's `compatible`
    found, unread = Description(), []
    readers = formats.all_formats(found)
    for number, line in formats.lines(text):
        if len(line) > LINE:
            raise MachineError(f"{name}: line {number} is longer than {LINE} characters")
        # What is printed later must not move the cursor of a terminal.
        clean = _CONTROL.sub("\ufffd", line)
        if not any(reader.take(clean) for reader in readers):
            unread.append(number)
        if len(found.devices) > DEVICES:
            raise MachineError(f"{name}: more than {DEVICES} devices")
    devices = tuple(dict.fromkeys(found.devices))
    if sum(len(device.modalias) for device in devices) > MODALIASES:
        raise MachineError(f"{name}: its modaliases have more than {MODALIASES} characters")
    if not devices:
        raise MachineError(f"{name} describes no device", hint=_HINT)
    known = dict(found.facts)
    words = (known.get(key, "") for key in ("vendor", "product", "model"))
    return Machine(
        devices=devices,
        title=" ".join(word for word in words if word),
        compatible=found.compatible,
        arch=known.get("arch", ""),
        facts=tuple(found.facts),
        unread=tuple(unread),
    )
