"""lsusb(8), with or without -v: the interfaces of USB devices, by which drivers are found."""

from __future__ import annotations

import re
from dataclasses import replace

from edgeimg.hardware.description import Description
from edgeimg.hardware.machine import UNKNOWN, Device

_USB = re.compile(
    r"Bus (?P<bus>\d{3}) Device (?P<device>\d{3}): "
    r"ID (?P<ids>[0-9a-f]{4}:[0-9a-f]{4})(?: (?P<name>.*))?"
)
_USB_FIELD = re.compile(r"\s+(?P<key>b\w+|bcdDevice)\s+(?P<value>0x[0-9a-f]{2}|[0-9.]+)\b.*")


_USB_NOTES = (
    "Device ", "Binary ", "Negotiated speed", "Couldn't open", "can't get",
)  # fmt: skip
"""Lines of lsusb -v that begin without blanks: "Device Descriptor:", "Device Status:"."""


class Lsusb:
    """`lsusb`, or `lsusb -v`, which has the classes of the interfaces."""

    def __init__(self, found: Description) -> None:
        self._found, self._inside = found, False
        self._device: dict[str, str] = {}
        self._interface: dict[str, str] = {}
        self._plain: Device | None = None

    def take(self, line: str) -> bool:
        """As `Status.take`. With -v, lines below a device are its details."""
        if found := _USB.fullmatch(line):
            self._inside, self._device, self._interface = True, {}, {}
            vendor, _, model = found["ids"].upper().partition(":")
            self._plain = Device(
                modalias=f"usb:v{vendor}p{model}d*dc*dsc*dp*ic*isc*ip*in*",
                place=f"{found['bus']}:{found['device']}",
                title=found["name"] or "",
            )
            self._found.devices.append(self._plain)
            return True
        if not self._inside:
            return False
        if not line[0].isspace():
            return line.startswith(_USB_NOTES)
        if found := _USB_FIELD.fullmatch(line):
            self._field(found["key"], found["value"])
        return True

    def _field(self, key: str, value: str) -> None:
        number = 0
        if re.fullmatch(r"0x[0-9a-f]{1,8}|[0-9]{1,3}", value):
            number = int(value, 16 if value.startswith("0x") else 10)
        if key.startswith("bDevice"):
            self._device[key] = f"{number & 255:02X}"
        elif key == "bcdDevice":
            self._device[key] = value.replace(".", "").zfill(4)[:4]
        elif key == "bInterfaceNumber":
            self._interface = {key: f"{number & 255:02X}"}
        elif key in {"bAlternateSetting", "bInterfaceClass", "bInterfaceSubClass"}:
            self._interface[key] = f"{number & 255:02X}"
        elif key == "bInterfaceProtocol" and self._interface.get("bAlternateSetting") == "00":
            self._interface[key] = f"{number & 255:02X}"
            self._add()

    def _add(self) -> None:
        """The interface takes the place of the device, about which less is known."""
        if self._plain is None or "bInterfaceNumber" not in self._interface:
            return
        if self._found.devices[-1] == self._plain:
            self._found.devices.pop()
        own, part, start = self._device, self._interface, self._plain.modalias.partition("d*")[0]
        alias = (
            f"{start}d{own.get('bcdDevice', UNKNOWN)}dc{own.get('bDeviceClass', UNKNOWN)}"
            f"dsc{own.get('bDeviceSubClass', UNKNOWN)}dp{own.get('bDeviceProtocol', UNKNOWN)}"
            f"ic{part.get('bInterfaceClass', UNKNOWN)}isc{part.get('bInterfaceSubClass', UNKNOWN)}"
            f"ip{part['bInterfaceProtocol']}in{part['bInterfaceNumber']}"
        )
        place = f"{self._plain.place} interface {int(part['bInterfaceNumber'], 16)}"
        self._found.devices.append(replace(self._plain, modalias=alias, place=place))
