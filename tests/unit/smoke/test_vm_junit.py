"""The XML, read back."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from edgeimg.smoke.junit import junit
from edgeimg.smoke.verdict import Check


@dataclass(frozen=True)
class Report:
    arch: str
    checks: tuple[Check, ...]
    seconds: float = 12.34


def test_suites_cases_and_failures_are_read_back() -> None:
    reports = [
        Report("x86-64", (Check(name="one"), Check(name="two", failure='a <b> & "c"'))),
        Report("arm", (Check(name="one"),)),
    ]
    root = ElementTree.fromstring(junit(reports))
    first, second = root.findall("testsuite")
    assert first.attrib == {
        "name": "smoke x86-64",
        "tests": "2",
        "failures": "1",
        "time": "12.3",
    }
    assert second.attrib["failures"] == "0"
    assert [case.attrib["name"] for case in first] == ["one", "two"]
    failure = first[1].find("failure")
    assert failure is not None
    assert failure.text == 'a <b> & "c"'
    assert first[0].find("failure") is None


def test_console_noise_stays_valid_xml() -> None:
    noise = Report("arm", (Check(name="boot", failure="\x1b[31mred\x00\x07\nnext"),))
    root = ElementTree.fromstring(junit([noise]))
    assert root.findtext(".//failure") == "[31mred\nnext"
