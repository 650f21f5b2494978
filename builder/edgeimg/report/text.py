"""Formats figures, and replaces characters that a page cannot show."""

from __future__ import annotations

from markupsafe import Markup, escape

__all__ = ["clean", "duration", "growth", "human", "percent", "short", "ticked", "ticks"]

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def clean(text: str) -> str:
    """The text without characters that HTML cannot write, or that change the direction of text.

    Control and format characters (bidirectional overrides among them) and lone surrogates, which
    file names may hold, become U+FFFD.
    """
    return "".join(c if c.isprintable() or c in "\n\t\u00a0" else "\ufffd" for c in text)


def ticked(text: str) -> Markup:
    """HTML of a text, with parts between backticks as code. All of it is escaped."""
    parts = clean(text).split("`")
    if len(parts) % 2 == 0:
        return escape(clean(text))
    marked = (
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(marked)


def duration(seconds: float) -> str:
    """`0.3 s`, `59 s`, `3 min 19 s`, with blanks that do not break."""
    total = round(seconds)
    if seconds < 9.95:
        text = f"{seconds:.1f} s"
    else:
        text = f"{total} s" if total < 100 else f"{total // 60} min {total % 60:02} s"
    return text.replace(" ", "\u00a0")


def short(seconds: float) -> str:
    """The same where room is scarce: `0.3 s`, `59 s`, `3:19`."""
    total = round(seconds)
    return duration(seconds) if total < 100 else f"{total // 60}:{total % 60:02}"


def human(size: int) -> str:
    """`340 B`, `57.2 KiB`, `613 KiB`, `103.4 MiB` from bytes; never four digits before KiB."""
    if size < 1024:
        return f"{size} B"
    if size < 1000 * 1024:
        return f"{size / 1024:.{1 if size < 100 * 1024 else 0}f} KiB"
    return f"{size / (1 << 20):.1f} MiB"


def growth(size: int) -> str:
    """`+1.2 MiB`, `−340 B`, `±0`."""
    if size == 0:
        return "±0"
    return ("+" if size > 0 else "−") + human(abs(size))


def percent(part: float, total: float) -> float:
    """Percent of `total`, from 0 to 100, rounded to a thousandth."""
    return round(max(0.0, min(100.0, 100 * part / total)), 3) if total > 0 else 0.0


def ticks(seconds: float, most: int = 6) -> tuple[int, ...]:
    """Round places on an axis from 0 to `seconds`, at most `most` after the 0."""
    step = next((step for step in _STEPS if seconds / step <= most), None)
    step = step or 3600 * (1 + int(seconds // (3600 * most)))
    return tuple(range(0, int(seconds) + 1, step))
