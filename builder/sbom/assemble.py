"""The pieces of a composed image → its Sbom."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from builder import arch as architectures
from builder.compose.kernel import Kernel
from builder.pack.manifest import Contents
from builder.sbom import containers, debian, gomod, purl
from builder.sbom.debian import Groups
from builder.sbom.gomod import Program
from builder.sbom.model import IMAGE, Component, Distribution, Kind, Sbom
from builder.sources.builtin_images import DIRECTORY as IMAGES
from builder.sources.k3s import K3sBundle
from builder.tree import Kind as NodeKind
from builder.tree import Tree

_LOCAL = "edgeimg.local/"
K3S_MODULE = "github.com/k3s-io/k3s"
STANDIN = "k3s-standin"
_STANDIN_NOTE = (
    "NOT K3s: edgeimg's stand-in for tests and demonstrations, a Kubernetes in K3s' packaging"
)
_OS_RELEASE = "usr/lib/os-release"


def describe(
    *, contents: Contents, root: Tree, groups: Groups, kernel: Kernel, k3s: K3sBundle
) -> Sbom:
    """Everything that is inside one image.

    `contents` says what the image is (`Composed.contents`), `root` is the finished root file
    system (`Composed.source.root`), `groups` are all its Debian packages, unpacked, by what they
    are for (`Composed.inputs.groups`), `kernel` and `k3s` are the composed ones
    (`Composed.source.kernel`, `Composed.k3s`). Pure: equal arguments give an equal Sbom. Raises
    ArchiveError for a container image of the root that cannot be read.
    """
    distribution = _distribution(root)
    packages = debian.components(groups, distribution)
    made = _Collection()
    for package, component in packages.items():
        note = f"Linux {kernel.version}" if package.sha256 == kernel.sha256 else ""
        made.add(replace(component, note=note), IMAGE)
    _relate(made, groups, {package.sha256: c.ref for package, c in packages.items()})
    _add_k3s(made, k3s)
    _add_files(made, root)
    for path, program in gomod.find(root):
        owner = _owner(made, path, root[path].origin, packages.values())
        _add_program(made, path, program, digest=_digest(root, path), owner=owner, k3s=k3s)
    _add_images(made, root, groups, distribution, contents, k3s)
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


@dataclass
class _Collection:
    """Components and relations on their way into an Sbom."""

    components: dict[str, Component] = field(default_factory=dict)
    relations: dict[str, set[str]] = field(default_factory=dict)

    def add(self, component: Component, owner: str) -> str:
        """Add it once, below its owner; returns its reference."""
        self.components.setdefault(component.ref, component)
        self.relate(owner, component.ref)
        return component.ref

    def relate(self, one: str, other: str) -> None:
        if one != other:
            self.relations.setdefault(one, set()).add(other)


def _distribution(root: Tree) -> Distribution:
    text = root.read(_OS_RELEASE).decode() if _OS_RELEASE in root else ""
    pairs = (line.partition("=") for line in text.splitlines())
    fields = {name: value.strip('"') for name, _, value in pairs}
    return Distribution(
        id=fields.get("ID", "debian"),
        version=fields.get("VERSION_ID", ""),
        codename=fields.get("VERSION_CODENAME", ""),
    )


def _relate(made: _Collection, groups: Groups, refs: Mapping[str, str]) -> None:
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


def _add_k3s(made: _Collection, k3s: K3sBundle) -> None:
    version = k3s.version
    name = STANDIN if k3s.standin else "k3s"
    url = purl.generic(STANDIN, version) if k3s.standin else purl.golang(K3S_MODULE, version)
    made.add(
        Component(
            ref="k3s",
            kind=Kind.K3S,
            name=name,
            version=version,
            purl=url,
            licences=("Apache-2.0",),
            supplier="edgeimg" if k3s.standin else "K3s",
            sha256=k3s.sha256,
            parts=("root",),
            note=_STANDIN_NOTE if k3s.standin else "",
        ),
        IMAGE,
    )


def _owner(made: _Collection, path: str, origin: str, packages: Iterable[Component]) -> str:
    """What brought a file of the root: K3s, a package, an overlay, or the image itself."""
    for ref in (f"file:{path}", origin):
        if ref in made.components:
            return ref
    name = origin.removeprefix("package:")
    return next((c.ref for c in packages if c.name == name and "root" in c.parts), IMAGE)


def _add_program(
    made: _Collection, place: str, program: Program, *, digest: str, owner: str, k3s: K3sBundle
) -> None:
    """A Go program, and below it the standard library and its modules.

    `place` is its path in the root, or `IMAGE:/PATH` in a container image.
    """
    main = program.main
    version = main.version
    if main.path == K3S_MODULE and not k3s.standin:
        version = version or k3s.version
    public = main.path and not main.path.startswith(_LOCAL)
    ref = made.add(
        Component(
            ref=f"program:{place}",
            kind=Kind.PROGRAM,
            name=place.rpartition("/")[2],
            version=version,
            purl=purl.golang(main.path, version) if public else "",
            sha256=digest,
            paths=(place,),
            parts=("root",),
            note=f"{program.path or main.path}, built with Go {program.go}",
        ),
        owner,
    )
    stdlib = gomod.Module(path="stdlib", version=program.go)
    for module in (stdlib, *program.modules):
        url = purl.golang(module.path, module.version)
        made.add(
            Component(
                ref=f"{url}#{module.replaces}" if module.replaces else url,
                kind=Kind.MODULE,
                name=module.path,
                version=module.version,
                purl=url,
                replaces=module.replaces,
            ),
            ref,
        )


def _add_images(
    made: _Collection,
    root: Tree,
    groups: Groups,
    distribution: Distribution,
    contents: Contents,
    k3s: K3sBundle,
) -> None:
    """Container images, with the packages and Go programs in them.

    Images that edgeimg composes have no package database: their files are recognised.
    """
    goarch = architectures.find(contents.arch).goarch
    known = {
        digest: package
        for package, deb in groups.get("containers", ())
        for digest in deb.tree.digests().values()
    }
    by_sha256 = {c.sha256: c.ref for c in made.components.values() if c.sha256}
    for path, node in root.under(IMAGES):
        if node.kind is not NodeKind.FILE or not path.endswith(".tar"):
            continue
        for image in containers.read(node.read(), path):
            ref = made.add(_image(image, path, goarch), IMAGE)
            for fields in image.packages():
                made.add(debian.component(fields, distribution, parts=("containers",)), ref)
            for name, content in image.files.items():
                digest = hashlib.sha256(content).hexdigest()
                if content and digest in known:
                    made.relate(ref, by_sha256[known[digest].sha256])
                if program := gomod.read(content):
                    place = f"{image.name}:/{name}"
                    _add_program(made, place, program, digest=digest, owner=ref, k3s=k3s)


def _image(image: containers.Image, path: str, arch: str) -> Component:
    repository, tag = purl.split_reference(image.name)
    licence = image.labels.get("licenses", "")
    return Component(
        ref=f"image:{image.name}",
        kind=Kind.CONTAINER,
        name=repository,
        version=image.labels.get("version") or tag,
        purl=purl.oci(image.name, image.digest, arch=arch),
        licences=(licence,) if licence else (),
        supplier=image.labels.get("vendor", ""),
        sha256=image.digest.removeprefix("sha256:"),
        paths=(path,),
        parts=("root",),
    )


def _add_files(made: _Collection, root: Tree) -> None:
    """What comes from no package: files of overlays, and those that edgeimg generates."""
    for path, node in root.items():
        if node.kind is NodeKind.FILE and node.origin.startswith(("overlay:", "edgeimg")):
            name, _, overlay = node.origin.partition(":")
            made.add(
                Component(
                    ref=f"file:{path}",
                    kind=Kind.FILE,
                    name=path,
                    sha256=_digest(root, path),
                    paths=(path,),
                    parts=("root",),
                    note=f"from the overlay {overlay}" if overlay else f"generated by {name}",
                ),
                IMAGE,
            )


def _digest(root: Tree, path: str) -> str:
    return Tree({path: root[path]}).digests()[path]
