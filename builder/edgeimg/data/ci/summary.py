#!/usr/bin/env python3
"""JUnit for GitHub, which has no view of its own for it: a table for the job's summary, and an
annotation for each failure. Standard library only.

    summary.py smoke.junit.xml >> "$GITHUB_STEP_SUMMARY"        # annotations go to stderr
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree


def main(path: Path) -> None:
    """Print the table on stdout, the annotations on stderr."""
    print("### Boots\n\n| guest | check | |\n|---|---|---|")
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        guest, check = case.get("classname", "").removeprefix("smoke."), case.get("name", "")
        failure = case.find("failure")
        message = "" if failure is None else failure.get("message", "failed")
        print(f"| {cell(guest)} | {cell(check)} | {'❌ ' + cell(message) if message else '✅'} |")
        if message:
            title = escape(f"{guest}: {check}").replace(":", "%3A").replace(",", "%2C")
            print(f"::error title={title}::{escape(message)}", file=sys.stderr)


def cell(text: str) -> str:
    """Text as it may be in a table of Markdown."""
    for old, new in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "&#96;"), ("\n", " ")):
        text = text.replace(old, new)
    return text


def escape(text: str) -> str:
    """Text as it may be in a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
