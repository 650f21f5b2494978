"""Debian packages → components, with their sources (deb-control(5)) and licences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgeimg.lock.model import Package
from edgeimg.sbom import licences, purl
from edgeimg.sbom.model import Component, Distribution, Kind, Source
from edgeimg.sources.deb import Deb

Groups = Mapping[str, Sequence[tuple[Package, Deb]]]
"""Packages by their purpose; see `edgeimg.lock.model.ArchLock.groups`."""

_KINDS = {"kernel": Kind.KERNEL, "boot": Kind.BOOT_LOADER}
_RELATION = re.compile(r"([a-z0-9][a-z0-9+.-]+)(?::\w+)?(?:\s*\(\s*([<>=]+)?\s*([^)\s]+)\s*\))?")
_SIGNED = re.compile(r"linux-signed-\w+")


def components(groups: Groups, distribution: Distribution) -> dict[Package, Component]:
    """One component a package, however many groups it is in."""
    parts: dict[Package, list[str]] = {}
    debs: dict[Package, Deb] = {}
    for group in sorted(groups):
        for package, deb in groups[group]:
            parts.setdefault(package, []).append(group)
            debs[package] = deb
    licence_index = licences.Licences(debs.values())
    return {
        package: component(
            debs[package].control,
            distribution,
            kind=_kind(debs[package], parts[package]),
            licences=licence_index.of(package.name),
            sha256=package.sha256,
            parts=tuple(parts[package]),
        )
        for package in sorted(debs)
    }


def component(
    control: Mapping[str, str],
    distribution: Distribution,
    *,
    kind: Kind = Kind.PACKAGE,
    licences: tuple[str, ...] = (),
    sha256: str = "",
    parts: tuple[str, ...] = (),
    paths: tuple[str, ...] = (),
) -> Component:
    """The component of one package from its control fields; `Package` and `Version` are there."""
    name, version = control["Package"], control["Version"]
    source = source_of(control)
    url = purl.debian(
        name,
        version,
        arch=control.get("Architecture", "all"),
        distribution=distribution,
        source=source,
    )
    return Component(
        ref=url,
        kind=kind,
        name=name,
        version=version,
        purl=url,
        licences=licences,
        source=source,
        built_using=built_using(control),
        supplier=" ".join(control.get("Maintainer", "").split()),
        sha256=sha256,
        parts=parts,
        paths=paths,
    )


def source_of(control: Mapping[str, str]) -> Source:
    """The source package, as advisories call it.

    A signed kernel has a source package with only the signatures. The source of the kernel
    itself is in `Built-Using`.
    """
    match = _RELATION.match(control.get("Source", ""))
    if match is None:
        return Source(name=control["Package"], version=control["Version"])
    name, version = match[1], match[3] or control["Version"]
    if _SIGNED.fullmatch(name):
        origin = next((s for s in _sources(control, "Built-Using") if s.name == "linux"), None)
        return origin or Source(name="linux", version=version.replace("+", "-"))
    return Source(name=name, version=version)


def built_using(control: Mapping[str, str]) -> tuple[Source, ...]:
    """The sources of code that is linked statically into the package's programs, sorted."""
    mine = source_of(control)
    sources = {*_sources(control, "Built-Using"), *_sources(control, "Static-Built-Using")}
    return tuple(sorted(sources - {mine}))


def depends(control: Mapping[str, str], present: Mapping[str, str]) -> set[str]:
    """References of the packages it depends on.

    `present` has the reference of every package by its name and by the names that it provides.
    Of alternatives, the first one in `present` counts.
    """
    references = set()
    for field in ("Pre-Depends", "Depends"):
        for clause in control.get(field, "").split(","):
            names = (m[1] for part in clause.split("|") if (m := _RELATION.match(part.strip())))
            references |= set([present[name] for name in names if name in present][:1])
    return references


def provides(control: Mapping[str, str]) -> list[str]:
    """The package's name and the names that it provides."""
    parts = control.get("Provides", "").split(",")
    return [control["Package"], *(m[1] for part in parts if (m := _RELATION.match(part.strip())))]


def _sources(control: Mapping[str, str], field: str) -> list[Source]:
    parts = (_RELATION.match(part.strip()) for part in control.get(field, "").split(","))
    return [Source(name=match[1], version=match[3]) for match in parts if match and match[3]]


def _kind(deb: Deb, groups: Sequence[str]) -> Kind:
    for group, kind in _KINDS.items():
        if group in groups:
            return kind
    holds_firmware = deb.tree.under("usr/lib/firmware") or deb.tree.under("lib/firmware")
    return Kind.FIRMWARE if holds_firmware else Kind.PACKAGE
