"""The pieces of a composed image → its Sbom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgeimg.compose.kernel_deb import Kernel
from edgeimg.compose.vendor import Vendor
from edgeimg.image.manifest import Contents
from edgeimg.lock.model import ImagePin
from edgeimg.sbom import debian, files, gomod, licences, pods, programs, purl
from edgeimg.sbom.collection import Collection, digest_of
from edgeimg.sbom.debian import Groups
from edgeimg.sbom.model import IMAGE, Component, Distribution, Kind, Sbom
from edgeimg.sources.k3s import K3sBundle
from edgeimg.tree import Tree

_OS_RELEASE = "usr/lib/os-release"


def describe(
    *,
    contents: Contents,
    root: Tree,
    groups: Groups,
    kernel: Kernel,
    k3s: K3sBundle | None,
    images: Mapping[str, ImagePin],
) -> Sbom:
    """Everything that is inside one image.

    `contents` describes the image (`Composed.contents`), `root` is the finished root file
    system (`Composed.source.root`), `groups` are all its Debian packages, unpacked, by what they
    are for (`Composed.inputs.groups`), `kernel` and `k3s` are the composed ones
    (`Composed.source.kernel`, `Composed.k3s`; None without K3s), `images` are the container images
    that services and pods take (`ArchLock.images`). Pure: equal arguments give an equal Sbom.
    Raises ArchiveError for a container image of the root that cannot be read.
    """
    distribution = _distribution(root)
    packages = debian.components(groups, distribution)
    collection = Collection()
    for package, component in packages.items():
        note = f"Linux {kernel.version}" if package.sha256 == kernel.sha256 else ""
        collection.add(replace(component, note=note), IMAGE)
    if kernel.vendor is not None:
        collection.add(_vendor_kernel(kernel, kernel.vendor, contents.arch), IMAGE)
    _relate(collection, groups, {package.sha256: c.ref for package, c in packages.items()})
    if k3s is not None:
        programs.add_k3s(collection, k3s)
    files.add_files(collection, root)
    files.add_services(collection, root, images, distribution, contents)
    pods.add(collection, root, groups, images, distribution, contents)
    go_programs = dict(gomod.find(root))
    for path, program in go_programs.items():
        owner = _owner(collection, path, root[path].origin, packages.values())
        digest = digest_of(root, path)
        programs.add_program(collection, path, program, digest=digest, owner=owner, k3s=k3s)
    if k3s is not None:
        programs.add_opaque(collection, k3s, go_programs)
    files.add_images(collection, root, groups, distribution, contents, k3s)
    return Sbom(
        id=contents.id,
        version=contents.version,
        arch=contents.arch,
        epoch=contents.epoch,
        distribution=distribution,
        standin=contents.standin,
        components=tuple(sorted(collection.components.values(), key=lambda c: c.ref)),
        relations={
            ref: tuple(sorted(collection.relations[ref])) for ref in sorted(collection.relations)
        },
    )


def _distribution(root: Tree) -> Distribution:
    text = root.read(_OS_RELEASE).decode() if _OS_RELEASE in root else ""
    pairs = (line.partition("=") for line in text.splitlines())
    fields = {name: value.strip('"') for name, _, value in pairs}
    return Distribution(
        id=fields.get("ID", "debian"),
        version=fields.get("VERSION_ID", ""),
        codename=fields.get("VERSION_CODENAME", ""),
    )


def _vendor_kernel(kernel: Kernel, vendor: Vendor, arch: str) -> Component:
    """A kernel that no advisory of Debian is about."""
    text = kernel.package.get(f"usr/share/doc/{vendor.name}/copyright")
    named = licences.parse(text.read().decode("utf-8", "replace")) if text else ()
    url = purl.generic(vendor.name, vendor.version, arch=arch)
    return Component(
        ref=url,
        kind=Kind.KERNEL,
        name=vendor.name,
        version=vendor.version,
        purl=url,
        licences=named or ("GPL-2.0-only",),  # COPYING of Linux
        supplier=vendor.supplier,
        sha256=kernel.sha256,
        parts=("kernel",),
        note=f"Linux {kernel.version} of {vendor.path}; not Debian's",
    )


def _relate(collection: Collection, groups: Groups, refs: Mapping[str, str]) -> None:
    """Dependencies between packages of the same group."""
    for group in groups.values():
        present: dict[str, str] = {}
        for package, deb in group:
            for name in debian.provides(deb.control):
                present.setdefault(name, refs[package.sha256])
            present[package.name] = refs[package.sha256]
        for package, deb in group:
            for dependency in debian.depends(deb.control, present):
                collection.relate(refs[package.sha256], dependency)


def _owner(collection: Collection, path: str, origin: str, packages: Iterable[Component]) -> str:
    """The component that a file of the root belongs to: K3s, a package, an overlay or the image."""
    for ref in (f"file:{path}", origin):
        if ref in collection.components:
            return ref
    name = origin.removeprefix("package:")
    return next((c.ref for c in packages if c.name == name and "root" in c.parts), IMAGE)
