"""Debian's security tracker, as it publishes it in one JSON file: source → CVE → releases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeimg.cve import versions
from edgeimg.cve.subjects import DEBIAN, Subject
from edgeimg.cve.vulnerability import Index, Vulnerability, identify
from edgeimg.streams.limits import Budget
from edgeimg.text.json_text import JsonObject

_PREFIXES = ("CVE-", "TEMP-")


def looks_like(data: Any) -> bool:
    """Whether parsed JSON is the tracker's: some source has an issue with releases."""
    if not isinstance(data, dict):
        return False
    for issues in data.values():
        if isinstance(issues, dict):
            for name, issue in issues.items():
                if not name.startswith(_PREFIXES):
                    return False
                return isinstance(issue, dict) and "releases" in issue
    return False


def vulnerabilities(data: JsonObject, index: Index, budget: Budget) -> Iterator[Vulnerability]:
    """The vulnerabilities of the subjects' versions in their release.

    Undetermined issues, and releases that it does not mention, count as not affected. Raises
    ArchiveError when that is too much work.
    """
    for (ecosystem, name), subjects in index.items():
        if ecosystem == DEBIAN:
            for issue_name, issue in (data.get(name) or {}).items():
                budget.move(0)
                for subject in subjects:
                    entry = (issue.get("releases") or {}).get(subject.codename) or {}
                    if _affected(entry, subject):
                        yield _vulnerability(issue_name, issue, entry, subject)


def _affected(entry: JsonObject, subject: Subject) -> bool:
    if entry.get("status") == "open":
        return True
    fixed = str(entry.get("fixed_version", ""))
    if entry.get("status") != "resolved" or not fixed or fixed == "0":
        return False
    try:
        return versions.debian(subject.version, fixed) < 0
    except ValueError:  # better one too many than one too few
        return True


def _vulnerability(
    issue_name: str, issue: JsonObject, entry: JsonObject, subject: Subject
) -> Vulnerability:
    name, cves = identify(issue_name, ())
    return Vulnerability(
        id=name,
        subject=subject,
        cves=cves,
        fixed=str(entry.get("fixed_version", "")) if entry.get("status") == "resolved" else "",
        urgency=str(entry.get("urgency", "")).strip("*"),
        summary=str(issue.get("description", "")),
    )
