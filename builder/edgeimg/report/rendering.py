"""What all pages share: templates that escape every text, and their files."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from edgeimg.report.text import clean, ticked


def environment() -> Environment:
    """Templates of `web`: every string is escaped and cleaned, and an unknown name is an error."""
    made = Environment(
        loader=PackageLoader("edgeimg.report", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["ticked"] = ticked
    return made


def asset(name: str) -> str:
    """The text of a file of `web`."""
    return files("edgeimg.report").joinpath("web", name).read_text(encoding="utf-8")


def _finalize(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
