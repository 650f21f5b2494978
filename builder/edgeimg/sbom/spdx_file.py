"""Sbom → SPDX 2.3 (ISO/IEC 5962), as JSON."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import re

from edgeimg.image import manifest
from edgeimg.sbom import licences
from edgeimg.sbom.cyclonedx_file import serial, trimmed
from edgeimg.sbom.model import IMAGE, Component, Kind, Sbom

_NOTHING = "NOASSERTION"
_ROOT = "SPDXRef-image"
_PURPOSES = {
    Kind.PACKAGE: "LIBRARY",
    Kind.MODULE: "LIBRARY",
    Kind.KERNEL: "OPERATING-SYSTEM",
    Kind.FIRMWARE: "FIRMWARE",
    Kind.CONTAINER: "CONTAINER",
    Kind.FILE: "FILE",
}
_CUSTOM = re.compile(rf"{licences.PREFIX}[A-Za-z0-9.-]+")


def encode(sbom: Sbom) -> bytes:
    """The document; equal Sboms give equal bytes."""
    ids = {component.ref: _identifier(component) for component in sbom.components}
    ids[IMAGE] = _ROOT
    custom = {
        name for c in sbom.components for text in c.licences for name in _CUSTOM.findall(text)
    }
    document: dict[str, object] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": sbom.name,
        "documentNamespace": f"urn:uuid:{serial(sbom)}",
        "creationInfo": {
            "created": _time(sbom.epoch),
            "creators": [f"Tool: edgeimg-{importlib.metadata.version('edgeimg')}"],
        },
        "documentDescribes": [_ROOT],
        "packages": [_image(sbom), *(_package(c, ids[c.ref]) for c in sbom.components)],
        "relationships": _relationships(sbom, ids),
    }
    if custom:
        document["hasExtractedLicensingInfos"] = [_extracted(name) for name in sorted(custom)]
    return manifest.encode(document)


def _identifier(component: Component) -> str:
    """Readable and unique: only letters, digits, `.` and `-` may be in it."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", component.name).strip("-")[-60:]
    return f"SPDXRef-{name}-{hashlib.sha256(component.ref.encode()).hexdigest()[:12]}"


def _image(sbom: Sbom) -> dict[str, object]:
    comment = "Its K3s is a stand-in, NOT K3s." if sbom.standin else ""
    return trimmed(
        {
            "SPDXID": _ROOT,
            "name": sbom.name,
            "versionInfo": sbom.version,
            "downloadLocation": _NOTHING,
            "filesAnalyzed": False,
            "primaryPackagePurpose": "OPERATING-SYSTEM",
            "comment": comment,
        }
    )


def _package(component: Component, identifier: str) -> dict[str, object]:
    licence = licences.joined(component.licences) or _NOTHING
    digest, source = component.sha256, component.source
    sources = [
        f"{s.name} {s.version}" for s in (*((source,) if source else ()), *component.built_using)
    ]
    return trimmed(
        {
            "SPDXID": identifier,
            "name": component.name,
            "versionInfo": component.version,
            "packageFileName": next(iter(component.paths), ""),
            "supplier": _supplier(component.supplier),
            "downloadLocation": _NOTHING,
            "filesAnalyzed": False,
            "checksums": [{"algorithm": "SHA256", "checksumValue": digest}] if digest else [],
            "sourceInfo": f"built from: {', '.join(sources)}" if sources else "",
            "licenseConcluded": _NOTHING,
            "licenseDeclared": licence,
            "copyrightText": _NOTHING,
            "primaryPackagePurpose": _PURPOSES.get(component.kind, "APPLICATION"),
            "externalRefs": [_purl(component.purl)] if component.purl else [],
            "comment": component.note,
        }
    )


def _purl(text: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": text,
    }


def _supplier(text: str) -> str:
    """`Organization: NAME (EMAIL)`."""
    match = re.fullmatch(r"(.*?)\s*<([^>]*)>", text)
    return (
        f"Organization: {match[1]} ({match[2]})"
        if match
        else f"Organization: {text}"
        if text
        else _NOTHING
    )


def _relationships(sbom: Sbom, ids: dict[str, str]) -> list[dict[str, str]]:
    relationships = [_related("SPDXRef-DOCUMENT", "DESCRIBES", _ROOT)]
    kinds = {component.ref: component.kind for component in sbom.components}
    for ref, targets in sorted(sbom.relations.items()):
        depends = kinds.get(ref) in (Kind.PACKAGE, Kind.KERNEL, Kind.BOOT_LOADER, Kind.FIRMWARE)
        for target in targets:
            word = "DEPENDS_ON" if depends and target.startswith("pkg:deb/") else "CONTAINS"
            relationships.append(_related(ids[ref], word, ids[target]))
    return relationships


def _related(element: str, word: str, related: str) -> dict[str, str]:
    return {"spdxElementId": element, "relationshipType": word, "relatedSpdxElement": related}


def _extracted(name: str) -> dict[str, str]:
    short = name.removeprefix(licences.PREFIX)
    text = f"Named {short} in a Debian copyright file, which holds its text."
    return {"licenseId": name, "name": short, "extractedText": text}


def _time(epoch: int) -> str:
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
