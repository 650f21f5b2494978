"""A CycloneDX document → the subjects to look up in vulnerability feeds.

It works with any document, not only edgeimg's: package URLs identify components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg.cve import versions
from edgeimg.cve.versions import Compare
from edgeimg.errors import ArchiveError
from edgeimg.sbom import purl
from edgeimg.sbom.model import PROPERTY
from edgeimg.text import json_text
from edgeimg.text.json_text import JsonObject

DEBIAN = "Debian"
GO = "Go"
COMPARE: dict[str, Compare] = {DEBIAN: versions.debian, GO: versions.semver}
"""How versions are ordered, by ecosystem."""
_CODENAMES = {"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}


@dataclass(frozen=True, kw_only=True, order=True)
class Subject:
    """A source package of Debian, or a Go module."""

    ecosystem: str
    """As OSV names it: DEBIAN or GO."""
    name: str
    """Of the source package; of the module, in lower case."""
    version: str
    release: str = ""
    """Debian's number: `13`."""
    codename: str = ""
    components: tuple[str, ...] = ()
    """Which components of the image come from it, by name."""


def load(path: Path) -> JsonObject:
    """The CycloneDX document (JSON) in a file. Raises ArchiveError for other files."""
    try:
        document = json_text.read(path)
        if document["bomFormat"] == "CycloneDX":
            return dict(document)
        why = "its bomFormat is another"
    except OSError as error:
        raise ArchiveError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        why = json_text.reason(error)
    raise ArchiveError(
        f"{path} is no CycloneDX document in JSON: {why}",
        hint="`edgeimg sbom -o FILE` writes one; a release has NAME.cdx.json",
    )


def title(document: JsonObject) -> str:
    """The subject of the document: `gateway 0.1.0`."""
    component = (document.get("metadata") or {}).get("component") or {}
    arch = _properties(component).get("arch", [])
    words = [component.get("name"), component.get("version"), *arch]
    return " ".join(str(word) for word in words if word) or "unnamed"


def of(document: JsonObject) -> tuple[list[Subject], int]:
    """The subjects, sorted, and how many components have a name but no version to compare."""
    names_by_subject: dict[Subject, set[str]] = {}
    without_version = 0
    codename = _codename(document)
    for component in _components(document):
        for subject in _subjects(component, codename):
            if _comparable(subject):
                names_by_subject.setdefault(subject, set()).add(str(component["name"]))
            else:
                without_version += 1
    subjects = (
        replace(s, components=tuple(sorted(names))) for s, names in names_by_subject.items()
    )
    return sorted(subjects), without_version


def vendor_kernels(document: JsonObject) -> list[str]:
    """Name and version of the kernels that are not Debian's: no feed is about these."""
    return sorted(
        f"{component['name']} {component.get('version', '')}".rstrip()
        for component in _components(document)
        if "kernel" in _properties(component).get("kind", ())
        and (url := purl.parse(component.get("purl", ""))) is not None
        and url.type == "generic"
    )


def _comparable(subject: Subject) -> bool:
    """Whether its version can be compared. Work trees have none."""
    try:
        COMPARE[subject.ecosystem](subject.version, subject.version)
    except ValueError:
        return False
    return True


def _components(node: JsonObject) -> Iterator[JsonObject]:
    for component in node.get("components") or ():
        yield component
        yield from _components(component)


def _codename(document: JsonObject) -> str:
    for component in _components(document):
        if component.get("type") == "operating-system":
            return next(iter(_properties(component).get("codename", ())), "")
    return ""


def _subjects(component: JsonObject, codename: str) -> Iterator[Subject]:
    url = purl.parse(component.get("purl", ""))
    if url is None:
        return
    version, facts = url.version or "", _properties(component)
    if url.type == "golang":
        names = [f"{url.namespace}/{url.name}" if url.namespace else url.name]
        for name in (*names, *facts.get("replaces", ())):
            yield Subject(ecosystem=GO, name=name.lower(), version=version)
    elif url.type == "deb" and url.namespace == "debian":
        qualifiers = dict(url.qualifiers)
        release = qualifiers.get("distro", "").removeprefix("debian-").partition(".")[0]
        source, at, number = qualifiers.get("upstream", url.name).partition("@")
        sources = [(source, number if at else version)]
        sources += [(name, v) for name, _, v in map(_words, facts.get("built-using", ()))]
        for name, number in sources:
            yield Subject(
                ecosystem=DEBIAN,
                name=name,
                version=number,
                release=release,
                codename=codename or _CODENAMES.get(release, ""),
            )


def _words(text: str) -> tuple[str, str, str]:
    return text.partition(" ")


def _properties(component: JsonObject) -> dict[str, list[str]]:
    """Our own properties, without their prefix."""
    properties: dict[str, list[str]] = {}
    for entry in component.get("properties") or ():
        name = str(entry.get("name", ""))
        if name.startswith(PROPERTY):
            properties.setdefault(name.removeprefix(PROPERTY), []).append(
                str(entry.get("value", ""))
            )
    return properties
