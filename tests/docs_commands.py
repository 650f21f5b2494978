"""The command lines of README, CONTRIBUTING and docs/, out of their ```sh blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
_FENCE = re.compile(r"^```(\S*)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ENDS = {"|", "&&", ";", ">", ">>", "<", "||", "&"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One command line of a page. `skipped` is the visible reason why no test runs its block."""

    page: str
    text: str
    skipped: str

    def commands(self) -> list[list[str]]:
        """Its commands as words, without sudo, assignments and redirections."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        found: list[list[str]] = [[]]
        words = iter(lexer)
        for word in words:
            if word in {">", ">>", "<"}:
                next(words)
            elif word in _ENDS:
                found.append([])
            elif found[-1] or not (word == "sudo" or re.match(r"[A-Z_]+=", word)):
                found[-1].append(word)
        return [command for command in found if command]


def pages() -> list[Path]:
    """Everything that shows commands to people."""
    docs = sorted((PROJECT / "docs").rglob("*.md"))
    return [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *docs]


def lines(page: Path) -> Iterator[Line]:
    """The command lines of one page, in their order."""
    for language, title, text in _FENCE.findall(page.read_text()):
        if language != "sh":
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                name = page.relative_to(PROJECT).as_posix()
                skipped = title if "not run" in title.lower() else ""
                yield Line(page=name, text=line, skipped=skipped)
