"""An Sbom as rows of text."""

from __future__ import annotations

from edgeimg.sbom.licences import PREFIX
from edgeimg.sbom.model import Sbom


def rows(sbom: Sbom) -> list[dict[str, str]]:
    """`name`, `version`, `kind`, `licence`, `purl` of every component, by kind and name."""
    table = [
        {
            "name": component.name,
            "version": component.version,
            "kind": component.kind.value,
            "licence": ", ".join(component.licences).replace(PREFIX, ""),
            "purl": component.purl,
        }
        for component in sbom.components
    ]
    return sorted(table, key=lambda row: (row["kind"], row["name"], row["version"]))
