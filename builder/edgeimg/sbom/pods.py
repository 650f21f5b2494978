"""Names and contents of the pod images in the root."""

from __future__ import annotations

from collections.abc import Mapping

from edgeimg import arch
from edgeimg.image.manifest import Contents
from edgeimg.lock.model import ImagePin
from edgeimg.recipe import image_name
from edgeimg.sbom import containers, debian, purl
from edgeimg.sbom.collection import Collection
from edgeimg.sbom.debian import Groups
from edgeimg.sbom.model import IMAGE, Component, Distribution, Kind
from edgeimg.tree import Tree
from edgeimg.workloads import images


def add(
    collection: Collection,
    root: Tree,
    groups: Groups,
    pins: Mapping[str, ImagePin],
    distribution: Distribution,
    contents: Contents,
) -> None:
    """One component for each image, which contains its Debian packages.

    `pins` are the images that edgeimg did not compose: their packages are in their own database.
    Images that edgeimg composed are related to the packages of `groups`. The built-in ones have
    single files of packages, which are recognised by digest.
    """
    goarch = arch.find_arch(contents.arch).goarch
    by_digest = {
        digest: package
        for package, deb in groups.get("containers", ())
        for digest in deb.tree.digests().values()
    }
    by_sha256 = {c.sha256: c.ref for c in collection.components.values() if c.sha256}
    for reference, (identity, base) in sorted(images.read_listing(root).items()):
        pin = pins.get(reference)
        ref = collection.add(_component(reference, pin, identity, base, goarch), IMAGE)
        for package, _ in groups.get(f"image:{reference}", ()):
            collection.relate(ref, by_sha256[package.sha256])
        inside = Tree(dict(root.under(base)))
        if pin is not None:
            for fields in _database(reference, inside, base).packages():
                package_ref = debian.component(fields, distribution, parts=(ref,))
                collection.add(package_ref, ref)
        elif f"image:{reference}" not in groups:
            for digest in inside.digests().values():
                if digest in by_digest:
                    collection.relate(ref, by_sha256[by_digest[digest].sha256])


def _component(
    reference: str, pin: ImagePin | None, identity: str, base: str, goarch: str
) -> Component:
    repository, tag, _ = image_name.split(reference)
    digest = pin.digest if pin else identity
    purl_digest = (pin.source.partition("@")[2] if pin else "") or digest
    return Component(
        ref=f"image:{reference}",
        kind=Kind.CONTAINER,
        name=repository,
        version=tag or digest,
        purl=purl.oci(reference, purl_digest, arch=goarch),
        sha256=digest.removeprefix("sha256:"),
        paths=(f"{base}/",),
        parts=(f"image:{reference}",),
    )


def _database(reference: str, inside: Tree, base: str) -> containers.Image:
    below = {
        path.removeprefix(f"{base}/"): node.read()
        for path, node in inside.under(f"{base}/var/lib/dpkg")
    }
    return containers.Image(name=reference, digest="", labels={}, files=below)
