"""Sbom → CycloneDX 1.6 (ECMA-424), as JSON.

Written here and not by the CycloneDX library, which takes minutes and most of a gigabyte for an
overlay of 20,000 files; its validator judges the documents in the tests (docs/adr/0022).
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import asdict
from uuid import UUID, uuid5

from cyclonedx.spdx import is_supported_id

from edgeimg.image import manifest
from edgeimg.sbom import licences, purl
from edgeimg.sbom.model import IMAGE, PROPERTY, Component, Kind, Sbom

NAMESPACE = UUID("3f0a6c1e-52f4-5a0b-9a53-0c7a4be9d1a7")

_DISTRIBUTION = "distribution"
_TYPES = {
    Kind.PACKAGE: "library",
    Kind.KERNEL: "application",
    Kind.BOOT_LOADER: "application",
    Kind.FIRMWARE: "firmware",
    Kind.K3S: "platform",
    Kind.PROGRAM: "application",
    Kind.MODULE: "library",
    Kind.CONTAINER: "container",
    Kind.FILE: "file",
}


def encode(sbom: Sbom) -> bytes:
    """The document; equal Sboms give equal bytes (serial number and time stamp included)."""
    tool = {
        "type": "application",
        "name": "edgeimg",
        "version": importlib.metadata.version("edgeimg"),
    }
    return manifest.encode(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": serial(sbom).urn,
            "version": 1,
            "metadata": {
                "timestamp": datetime.datetime.fromtimestamp(sbom.epoch, datetime.UTC).isoformat(),
                "lifecycles": [{"phase": "build"}],
                "tools": {"components": [tool]},
                "component": _image(sbom),
            },
            "components": [_distribution(sbom), *map(_component, sbom.components)],
            "dependencies": _dependencies(sbom),
        }
    )


def serial(sbom: Sbom) -> UUID:
    """A name of the content: the same for equal Sboms only."""
    return uuid5(NAMESPACE, json.dumps(asdict(sbom), sort_keys=True))


def trimmed(fields: dict[str, object]) -> dict[str, object]:
    """The fields that are not empty."""
    return {name: value for name, value in fields.items() if value not in ("", [])}


def _image(sbom: Sbom) -> dict[str, object]:
    return trimmed(
        {
            "type": "firmware",
            "bom-ref": IMAGE,
            "name": sbom.id,
            "version": sbom.version,
            "description": "Its K3s is a stand-in, NOT K3s" if sbom.standin else "",
            "purl": purl.generic(sbom.id, sbom.version, arch=sbom.arch),
            "properties": _properties({"arch": [sbom.arch]}),
        }
    )


def _distribution(sbom: Sbom) -> dict[str, object]:
    distribution = sbom.distribution
    codename = [distribution.codename] if distribution.codename else []
    return trimmed(
        {
            "type": "operating-system",
            "bom-ref": _DISTRIBUTION,
            "name": distribution.id,
            "version": distribution.version,
            "properties": _properties({"codename": codename}),
        }
    )


def _component(component: Component) -> dict[str, object]:
    digest, supplier = component.sha256, component.supplier
    places = [{"location": path} for path in component.paths]
    return trimmed(
        {
            "type": _TYPES[component.kind],
            "bom-ref": component.ref,
            "supplier": {"name": supplier} if supplier else "",
            "name": component.name,
            "version": component.version,
            "description": component.note,
            "hashes": [{"alg": "SHA-256", "content": digest}] if digest else [],
            "licenses": _licences(component.licences),
            "purl": component.purl,
            "evidence": {"occurrences": places} if places else "",
            "properties": _properties(_facts(component)),
        }
    )


def _facts(component: Component) -> dict[str, Iterable[str]]:
    source = component.source
    return {
        "kind": [component.kind.value],
        "in": component.parts,
        "source": [f"{source.name} {source.version}"] if source else [],
        "built-using": [f"{item.name} {item.version}" for item in component.built_using],
        "replaces": [component.replaces] if component.replaces else [],
    }


def _properties(facts: dict[str, Iterable[str]]) -> list[dict[str, str]]:
    return [
        {"name": f"{PROPERTY}{name}", "value": value}
        for name, values in facts.items()
        for value in values
    ]


def _licences(expressions: tuple[str, ...]) -> list[dict[str, object]]:
    """One identifier or one expression: the format allows no mixture of several."""
    text = licences.joined(expressions)
    if not text:
        return []
    return [{"license": {"id": text}} if is_supported_id(text) else {"expression": text}]


def _dependencies(sbom: Sbom) -> list[dict[str, object]]:
    related = {c.ref: sbom.relations.get(c.ref, ()) for c in sbom.components}
    related[IMAGE] = (*sbom.relations.get(IMAGE, ()), _DISTRIBUTION)
    related[_DISTRIBUTION] = ()
    return [
        trimmed({"ref": ref, "dependsOn": sorted(targets)})
        for ref, targets in sorted(related.items())
    ]
