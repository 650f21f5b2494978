"""Findings and components with their places. Those of several images have one row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeimg.check.findings import Finding
from edgeimg.report.facts import Component, ImageFacts

_ARCH = re.compile(r"(?<=[?&])arch=[^&#]*&?")
"""A purl's qualifier."""

_FIRST = ("k3s", "kernel", "boot loader", "firmware", "package", "container image", "program")
"""Kinds in the order of the table; others follow."""


@dataclass(frozen=True, kw_only=True)
class FindingRow:
    """A finding, and the images that have it."""

    finding: Finding
    archs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A component, and the images that it is in."""

    component: Component
    archs: tuple[str, ...]


def findings(images: Sequence[ImageFacts]) -> tuple[FindingRow, ...]:
    """Errors first, then by check and place."""
    where: dict[Finding, list[str]] = {}
    for image in images:
        for finding in image.findings:
            archs = where.setdefault(finding, [])
            if image.arch not in archs:
                archs.append(image.arch)
    ranked = sorted(where, key=lambda finding: (finding.severity != "error", finding))
    return tuple(FindingRow(finding=finding, archs=tuple(where[finding])) for finding in ranked)


def components(images: Sequence[ImageFacts]) -> tuple[Listed, ...]:
    """By kind and name. Components whose purls differ only in the architecture are one."""
    where: dict[tuple[str, str, str, str], dict[str, Component]] = {}
    for image in images:
        for component in sorted(image.components):
            key = (component.kind, component.name, component.version, component.licence)
            where.setdefault(key, {}).setdefault(image.arch, component)
    return tuple(_listed(where[key]) for key in sorted(where, key=_rank))


def _listed(by_arch: dict[str, Component]) -> Listed:
    first = next(iter(by_arch.values()))
    if any(component.purl != first.purl for component in by_arch.values()):
        first = replace(first, purl=_ARCH.sub("", first.purl).rstrip("?&"))
    return Listed(component=first, archs=tuple(by_arch))


def _rank(key: tuple[str, str, str, str]) -> tuple[int, tuple[str, str, str, str]]:
    kind = key[0]
    return _FIRST.index(kind) if kind in _FIRST else len(_FIRST), key
