"""A label as it will be printed: what stands where, in millimetres. Pure.

The QR code (ISO/IEC 18004) holds plain text, which every phone shows: name, MAC, serial numbers,
image. Or a URL, where a fleet is looked up somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import segno

from edgeimg.errors import HostError

SIZE = (62.0, 29.0)
"""Millimetres: a label that every label printer has."""
_SIZE = re.compile(r"(\d{1,3}(?:\.\d)?)[x×](\d{1,3}(?:\.\d)?)(?:mm)?")
_QUIET = 4
"""Modules around the code that the standard wants white."""
_SMALLEST_MODULE = 0.25
"""Millimetres: smaller ones are not read by phones."""
_MARGIN = 1.5
_NAME, _LINE = 6.5, 3.2
"""Millimetres of a line of text, at most."""
_SMALLEST_LINE = 1.6
_PARTS = re.compile(r"[^-. ]*[-. ]?")

Width = Callable[[str, float], float]
"""Millimetres that a text takes when its lines are that high."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a label says."""

    name: str
    mac: str = ""
    serial: str = ""
    """Of the box."""
    disk_serial: str = ""
    image: str = ""
    """Name and version."""

    def lines(self) -> tuple[str, ...]:
        """Below the name."""
        facts = (
            ("MAC", self.mac), ("serial", self.serial), ("disk", self.disk_serial),
            ("image", self.image),
        )  # fmt: skip
        return tuple(f"{what} {value}" for what, value in facts if value)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A line of text; all in millimetres from the top left corner."""

    text: str
    x: float
    y: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Label:
    """One label."""

    width: float
    height: float
    texts: tuple[Text, ...]
    modules: tuple[tuple[bool, ...], ...]
    """The QR code, row by row, dark ones true, without its white frame."""
    module: float
    """Millimetres."""
    left: float
    top: float
    """Of the code's first module."""


def size(text: str) -> tuple[float, float]:
    """Millimetres from `62x29`. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    width, height = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    if not (10 <= width <= 300 and 8 <= height <= 300):
        raise ValueError("expected width and height in millimetres, such as 62x29")
    return width, height


def content(facts: Facts, url: str | None = None) -> str:
    """What a phone gets: `url` with {name}, {mac}, {serial}, {disk_serial} filled in, or text."""
    if url is None:
        return "\n".join((facts.name, *facts.lines()))
    for key in ("name", "mac", "serial", "disk_serial"):
        url = url.replace("{" + key + "}", quote(getattr(facts, key), safe=""))
    return url


def plan(
    facts: Facts, wide: float, high: float, *, dpi: int, width: Width, url: str | None = None
) -> Label:
    """Lay a label out, with everything on whole dots of a printer of `dpi`.

    `width` measures text. Raises HostError when the label is too small to be read.
    """
    code = segno.make(content(facts, url), micro=False, error="m", boost_error=False)
    modules = tuple(tuple(bool(dark) for dark in row) for row in code.matrix)
    count = len(modules) + 2 * _QUIET
    room = min(high, wide / 2)
    dot = 25.4 / dpi
    module = int(room / count / dot) * dot
    if module < _SMALLEST_MODULE:
        least = count * (_SMALLEST_MODULE + dot)
        raise HostError(
            f"a label of {wide:g}x{high:g} mm is too small for the QR code of {facts.name}",
            hint=f"take one of {2 * least:.0f}x{least:.0f} mm or more"
            + ("" if url is None else ", or a shorter --url"),
        )
    left = int((_QUIET * module) / dot) * dot
    top = int(((high - len(modules) * module) / 2) / dot) * dot
    x = left + (len(modules) + _QUIET) * module
    texts = _texts(facts, x, wide - x - _MARGIN, high - 2 * _MARGIN, width)
    return Label(
        width=wide, height=high, texts=texts, modules=modules, module=module, left=left, top=top
    )


def _texts(facts: Facts, x: float, wide: float, high: float, width: Width) -> tuple[Text, ...]:
    """The name as large as it can be, over as many lines as that takes; the rest below it."""
    details = facts.lines()
    fitting = (wide / width(line, 1.0) for line in details)
    small = max(_SMALLEST_LINE, min((_LINE, high / 2 / max(1, len(details)), *fitting)))
    smaller = [part for line in details for part in _broken(line, wide, small, width)]
    lines, large = max(
        (
            _sized(facts.name, count, wide, high - small * len(smaller), width)
            for count in (1, 2, 3)
        ),
        key=lambda one: one[1],
    )
    if large < _SMALLEST_LINE:
        raise HostError(
            f"what belongs on the label of {facts.name} does not fit there legibly",
            hint="take a larger label with --size",
        )
    sizes = [large] * len(lines) + [small] * len(smaller)
    y = _MARGIN + (high - sum(sizes)) / 2
    texts = []
    for text, height in zip((*lines, *smaller), sizes, strict=True):
        texts.append(Text(text=text, x=x, y=y, height=height))
        y += height
    return tuple(texts)


def _sized(
    name: str, count: int, wide: float, high: float, width: Width
) -> tuple[tuple[str, ...], float]:
    """The name in at most `count` lines, and how high a line may be."""
    height = min(_NAME, high / count)
    while height >= _SMALLEST_LINE:
        lines = _broken(name, wide, height, width)
        if len(lines) <= count:
            return lines, height
        height -= 0.1
    return (name,), 0.0


def _broken(text: str, wide: float, height: float, width: Width) -> tuple[str, ...]:
    """Lines that fit; broken behind '-', '.' or a space where that is possible."""
    lines = [""]
    for part in _PARTS.findall(text):
        if width(lines[-1] + part, height) <= wide:
            lines[-1] += part
            continue
        lines.append("")
        for letter in part:
            if width(lines[-1] + letter, height) > wide:
                lines.append("")
            lines[-1] += letter
    return tuple(line for line in lines if line)
