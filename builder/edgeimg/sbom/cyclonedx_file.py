"""Sbom → CycloneDX 1.6 (ECMA-424), as JSON."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import asdict
from uuid import UUID, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model import component as cdx
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_supported_id
from packageurl import PackageURL

from edgeimg.sbom import licences
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
    text = JsonV1Dot6(_bom(sbom)).output_as_string(indent=2)
    return f"{text}\n".encode()


def serial(sbom: Sbom) -> UUID:
    """A name of the content: the same for equal Sboms only."""
    return uuid5(NAMESPACE, json.dumps(asdict(sbom), sort_keys=True))


def _bom(sbom: Sbom) -> Bom:
    tool = cdx.Component(
        type=cdx.ComponentType.APPLICATION,
        name="edgeimg",
        version=importlib.metadata.version("edgeimg"),
    )
    metadata = BomMetaData(
        lifecycles=[PredefinedLifecycle(LifecyclePhase.BUILD)],
        timestamp=datetime.datetime.fromtimestamp(sbom.epoch, datetime.UTC),
        tools=ToolRepository(components=[tool]),
        component=_image(sbom),
    )
    return Bom(
        serial_number=serial(sbom),
        metadata=metadata,
        components=[_distribution(sbom), *map(_component, sbom.components)],
        dependencies=_dependencies(sbom),
    )


def _image(sbom: Sbom) -> cdx.Component:
    description = "Its K3s is a stand-in, NOT K3s" if sbom.standin else None
    return cdx.Component(
        bom_ref=IMAGE,
        type=cdx.ComponentType.FIRMWARE,
        name=sbom.id,
        version=sbom.version,
        description=description,
        purl=PackageURL("generic", None, sbom.id, sbom.version, {"arch": sbom.arch}),
        properties=_properties({"arch": [sbom.arch]}),
    )


def _distribution(sbom: Sbom) -> cdx.Component:
    distribution = sbom.distribution
    return cdx.Component(
        bom_ref=_DISTRIBUTION,
        type=cdx.ComponentType.OPERATING_SYSTEM,
        name=distribution.id,
        version=distribution.version or None,
        properties=_properties(
            {"codename": [distribution.codename] if distribution.codename else []}
        ),
    )


def _component(component: Component) -> cdx.Component:
    digest, supplier = component.sha256, component.supplier
    places = [Occurrence(location=path) for path in component.paths]
    return cdx.Component(
        bom_ref=component.ref,
        type=cdx.ComponentType(_TYPES[component.kind]),
        name=component.name,
        version=component.version or None,
        description=component.note or None,
        purl=PackageURL.from_string(component.purl) if component.purl else None,
        licenses=_licences(component.licences),
        supplier=OrganizationalEntity(name=supplier) if supplier else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else None,
        evidence=ComponentEvidence(occurrences=places) if places else None,
        properties=_properties(_facts(component)),
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


def _properties(facts: dict[str, Iterable[str]]) -> list[Property]:
    return [
        Property(name=f"{PROPERTY}{name}", value=value)
        for name, values in facts.items()
        for value in values
    ]


def _licences(expressions: tuple[str, ...]) -> list[License]:
    """One identifier or one expression: the format allows no mixture of several."""
    text = licences.joined(expressions)
    if not text:
        return []
    return [DisjunctiveLicense(id=text)] if is_supported_id(text) else [LicenseExpression(text)]


def _dependencies(sbom: Sbom) -> list[Dependency]:
    def dependency(ref: str, targets: Iterable[str]) -> Dependency:
        return Dependency(BomRef(ref), [Dependency(BomRef(target)) for target in targets])

    related = {c.ref: sbom.relations.get(c.ref, ()) for c in sbom.components}
    related[IMAGE] = (*sbom.relations.get(IMAGE, ()), _DISTRIBUTION)
    related[_DISTRIBUTION] = ()
    return [dependency(ref, targets) for ref, targets in sorted(related.items())]
