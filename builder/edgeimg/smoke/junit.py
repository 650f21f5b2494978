"""JUnit XML, as CI systems read it: a suite per guest, a case per expectation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from xml.etree import ElementTree

from edgeimg.smoke.verdict import Check


class Suite(Protocol):
    """The parts of a report that JUnit has a place for."""

    @property
    def arch(self) -> str:
        """The suite's name."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """The cases."""

    @property
    def seconds(self) -> float:
        """Its duration."""


def junit(reports: Sequence[Suite]) -> bytes:
    """The XML document of some reports."""
    root = ElementTree.Element("testsuites", name="edgeimg smoke")
    for report in reports:
        failed = sum(bool(check.failure) for check in report.checks)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=f"smoke {report.arch}",
            tests=str(len(report.checks)),
            failures=str(failed),
            time=f"{report.seconds:.1f}",
        )
        for check in report.checks:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"smoke.{report.arch}", name=check.name
            )
            if check.failure:
                message = _printable(check.failure)
                ElementTree.SubElement(case, "failure", message=message).text = message
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _printable(text: str) -> str:
    """XML 1.0 has no way to write most control characters, and consoles are full of them."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
