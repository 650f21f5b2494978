"""The pieces of a composed image → its Sbom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgeimg.compose.kernel import Kernel
from edgeimg.image.manifest import Contents
from edgeimg.lock.model import ImagePin
from edgeimg.sbom import debian, files, gomod, pods, programs
from edgeimg.sbom.collection import Collection, digest_of
from edgeimg.sbom.debian import Groups
from edgeimg.sbom.model import IMAGE, Component, Distribution, Sbom
from edgeimg.sources.k3s import K3sBundle
from edgeimg.tree import Tree

_OS_RELEASE = "usr/lib/os-release"


def describe(
    *,
    contents: Contents,
    root: Tree,
    groups: Groups,
    kernel: Kernel,
    k3s: K3sBundle,
    images: Mapping[str, ImagePin],
) -> Sbom:
    """Everything that is inside one image.

    `contents` says what the image is (`Composed.contents`), `root` is the finished root file
    system (`Composed.source.root`), `groups` are all its Debian packages, unpacked, by what they
    are for (`Composed.inputs.groups`), `kernel` and `k3s` are the composed ones
    (`Composed.source.kernel`, `Composed.k3s`), `images` are the container images that services and
    pods take (`ArchLock.images`). Pure: equal arguments give an equal Sbom. Raises
    ArchiveError for a container image of the root that cannot be read.
    """
    distribution = _distribution(root)
    packages = debian.components(groups, distribution)
    made = Collection()
    for package, component in packages.items():
        note = f"Linux {kernel.version}" if package.sha256 == kernel.sha256 else ""
        made.add(replace(component, note=note), IMAGE)
    _relate(made, groups, {package.sha256: c.ref for package, c in packages.items()})
    programs.add_k3s(made, k3s)
    files.add_files(made, root)
    files.add_services(made, root, images, distribution, contents)
    pods.add(made, root, groups, images, distribution, contents)
    told = dict(gomod.find(root))
    for path, program in told.items():
        owner = _owner(made, path, root[path].origin, packages.values())
        digest = digest_of(root, path)
        programs.add_program(made, path, program, digest=digest, owner=owner, k3s=k3s)
    programs.add_silent(made, k3s, told)
    files.add_images(made, root, groups, distribution, contents, k3s)
    return Sbom(
        id=contents.id,
        version=contents.version,
        arch=contents.arch,
        epoch=contents.epoch,
        distribution=distribution,
        standin=k3s.standin,
        components=tuple(sorted(made.components.values(), key=lambda c: c.ref)),
        relations={ref: tuple(sorted(made.relations[ref])) for ref in sorted(made.relations)},
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


def _relate(made: Collection, groups: Groups, refs: Mapping[str, str]) -> None:
    """Dependencies between packages, within what is installed together."""
    for group in groups.values():
        present: dict[str, str] = {}
        for package, deb in group:
            for name in debian.provides(deb.control):
                present.setdefault(name, refs[package.sha256])
            present[package.name] = refs[package.sha256]
        for package, deb in group:
            for other in debian.depends(deb.control, present):
                made.relate(refs[package.sha256], other)


def _owner(made: Collection, path: str, origin: str, packages: Iterable[Component]) -> str:
    """What brought a file of the root: K3s, a package, an overlay, or the image itself."""
    for ref in (f"file:{path}", origin):
        if ref in made.components:
            return ref
    name = origin.removeprefix("package:")
    return next((c.ref for c in packages if c.name == name and "root" in c.parts), IMAGE)
