"""Labels as a printer takes them: PNG in its dots, and PDF pages in the label's real size."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from edgeimg import process
from edgeimg.errors import EdgeimgError, HostError
from edgeimg.fleet.label import Label

DPI = 300
_MM = 25.4
_BODY = 0.82
"""Of a line's height is letters, the rest is between the lines."""


def width(text: str, height: float) -> float:
    """Millimetres that a line of text takes whose lines are `height` millimetres apart."""
    return float(_font(100).getlength(text)) / 100 * height * _BODY


def png(label: Label, *, dpi: int = DPI) -> bytes:
    """A PNG that says its resolution, so that it is printed in its size."""
    file = io.BytesIO()
    _draw(label, dpi).save(file, "PNG", dpi=(dpi, dpi), optimize=True)
    return file.getvalue()


def pdf(labels: Sequence[Label], *, dpi: int = DPI) -> bytes:
    """One page a label, each as large as the label."""
    first, *others = (_draw(label, dpi) for label in labels)
    file = io.BytesIO()
    first.save(
        file, "PDF", resolution=float(dpi), save_all=True, append_images=others, title="Labels"
    )
    return file.getvalue()


def send(path: Path, printer: str) -> None:
    """Hand a file to a printer of CUPS. Raises HostError with what lp(1) says."""
    try:
        process.run(["lp", "-d", printer, "-s", "--", path], timeout=60)
    except EdgeimgError as error:
        raise HostError(
            f"{path.name} was not printed: {error.message}",
            hint="`lpstat -p` lists the printers; the labels can be printed later, too",
        ) from None


def _draw(label: Label, dpi: int) -> Image.Image:
    def dots(length: float) -> int:
        return round(length / _MM * dpi)

    image = Image.new("1", (dots(label.width), dots(label.height)), 1)
    pen = ImageDraw.Draw(image)
    for text in label.texts:
        # One bit a dot: a printer of labels knows no grey.
        font = _font(max(1, dots(text.height * _BODY)))
        pen.text((dots(text.x), dots(text.y)), text.text, fill=0, font=font)
    module, left, top = dots(label.module), dots(label.left), dots(label.top)
    for row, modules in enumerate(label.modules):
        for column, dark in enumerate(modules):
            if dark:
                x, y = left + column * module, top + row * module
                pen.rectangle((x, y, x + module - 1, y + module - 1), fill=0)
    return image


@functools.lru_cache(maxsize=64)
def _font(dots: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(dots)
