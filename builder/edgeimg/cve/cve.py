"""Known vulnerabilities of the components in an SBOM, from feeds of the user. Works offline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg.check.findings import Finding
from edgeimg.cve import feeds, subjects
from edgeimg.cve.vulnerability import Vulnerability, index
from edgeimg.errors import ArchiveError
from edgeimg.text import json_text
from edgeimg.text.json_text import JsonObject

RULE = "known-vulnerability"
_LONGEST = 100


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The known vulnerabilities of one image."""

    title: str
    """Which image: its name, version and architecture."""
    vulnerabilities: tuple[Vulnerability, ...]
    """Sorted by component. Each is listed once, even if several feeds have it."""
    ignored: tuple[str, ...]
    """Those that would be there, had they not been waved through."""
    compared: int
    """Source packages and modules that were looked up."""
    unknown: int
    """Number of modules without a version, which cannot be compared."""
    kernels: tuple[str, ...] = ()
    """Vendors' kernels, which are not looked up."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each; a warning where Debian sees no security problem."""
        return tuple(_finding(found) for found in self.vulnerabilities)

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {
            "image": self.title,
            "compared": self.compared,
            "unknown": self.unknown,
            "kernels_not_compared": list(self.kernels),
            "ignored": list(self.ignored),
            "vulnerabilities": [_plain(found) for found in self.vulnerabilities],
        }


def judge(
    document: bytes | JsonObject,
    feed_paths: Iterable[Path],
    *,
    ignore: Sequence[str] = (),
    fixable: bool = False,
) -> Judged:
    """Look everything in a CycloneDX document (JSON) up in the feeds.

    `ignore` names vulnerabilities to skip, by CVE or by the feed's name; `fixable` selects
    for those only that a later version is free of. Raises ArchiveError for a feed that cannot be
    understood.
    """
    try:
        parsed = json_text.parse(document) if isinstance(document, bytes) else document
        (candidates, without_version), title = subjects.of(parsed), subjects.title(parsed)
        kernels = tuple(subjects.vendor_kernels(parsed))
    except (TypeError, AttributeError, LookupError, ValueError) as error:
        raise ArchiveError(
            f"the CycloneDX document is malformed: {json_text.reason(error)}"
        ) from error
    by_key: dict[tuple[str, str, str], Vulnerability] = {}
    waved = set()
    for path in feed_paths:
        for vulnerability in feeds.search(path, index(candidates)):
            if fixable and not vulnerability.fixed:
                continue
            if _ignored(vulnerability, ignore):
                waved.add(vulnerability.id)
                continue
            key = (vulnerability.id, vulnerability.subject.name, vulnerability.subject.version)
            if key not in by_key or _better(vulnerability, by_key[key]):
                by_key[key] = vulnerability
    ordered = sorted(by_key.values(), key=lambda v: (v.minor, v.subject.name, v.id))
    return Judged(
        title=title,
        vulnerabilities=tuple(ordered),
        ignored=tuple(sorted(waved)),
        compared=len(candidates),
        unknown=without_version,
        kernels=kernels,
    )


def _ignored(vulnerability: Vulnerability, ignore: Sequence[str]) -> bool:
    return vulnerability.id in ignore or (
        bool(vulnerability.cves) and set(vulnerability.cves) <= set(ignore)
    )


def _better(first: Vulnerability, second: Vulnerability) -> bool:
    return (bool(first.fixed), bool(first.urgency)) > (bool(second.fixed), bool(second.urgency))


def _finding(vulnerability: Vulnerability) -> Finding:
    subject = vulnerability.subject
    names = [name for name in subject.components if name != subject.name]
    inside = f", in {', '.join(names)}" if names else ""
    urgency = f" ({vulnerability.urgency})" if vulnerability.urgency else ""
    return Finding(
        check="cve",
        severity="warning" if vulnerability.minor else "error",
        path=f"{subject.name} {subject.version}",
        message=f"{vulnerability.id}{urgency}{inside}: {short(vulnerability.summary)}".rstrip(": "),
        fix=f"fixed in {vulnerability.fixed}"
        if vulnerability.fixed
        else "no fixed version is known",
        rule=RULE,
        item=vulnerability.id,
    )


def short(text: str, limit: int = _LONGEST) -> str:
    """The first sentence or so, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _plain(vulnerability: Vulnerability) -> dict[str, object]:
    return {
        "id": vulnerability.id,
        "cves": list(vulnerability.cves),
        "ecosystem": vulnerability.subject.ecosystem,
        "name": vulnerability.subject.name,
        "version": vulnerability.subject.version,
        "components": list(vulnerability.subject.components),
        "fixed": vulnerability.fixed or None,
        "urgency": vulnerability.urgency or None,
        "severity": "warning" if vulnerability.minor else "error",
        "summary": vulnerability.summary,
    }
