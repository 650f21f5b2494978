"""Package URLs (purl-spec): the names under which scanners and advisories know components."""

from __future__ import annotations

from packageurl import PackageURL

from edgeimg.recipe import image_name
from edgeimg.sbom.model import Distribution, Source


def debian(
    name: str, version: str, *, arch: str, distribution: Distribution, source: Source | None = None
) -> str:
    """Of a Debian binary package.

    The qualifier `upstream` names the source package where it is called or numbered otherwise:
    advisories are about sources, and scanners look for it there.
    """
    qualifiers = {"arch": arch, "distro": distribution.qualifier}
    if source and (source.name, source.version) != (name, version):
        same_version = source.version == version
        qualifiers["upstream"] = source.name if same_version else f"{source.name}@{source.version}"
    url = PackageURL("deb", distribution.id, name, version, qualifiers)
    return url.to_string()


def golang(module: str, version: str) -> str:
    """Of a Go module; without a version for one that was built from a work tree."""
    namespace, _, name = module.rpartition("/")
    return PackageURL("golang", namespace or None, name, version or None).to_string()


def oci(reference: str, digest: str, *, arch: str) -> str:
    """Of a container image by its manifest's digest (`sha256:…`)."""
    repository, tag, _ = image_name.split(reference)
    qualifiers = {"arch": arch, "repository_url": repository} | ({"tag": tag} if tag else {})
    name = repository.rpartition("/")[2].lower()
    return PackageURL("oci", None, name, digest, qualifiers).to_string()


def generic(name: str, version: str, *, arch: str = "") -> str:
    """Of a component that is in no registry."""
    qualifiers = {"arch": arch} if arch else None
    return PackageURL("generic", None, name, version or None, qualifiers).to_string()


def parse(text: str) -> PackageURL | None:
    """The parts of a package URL; None for other text."""
    try:
        return PackageURL.from_string(text)
    except ValueError:
        return None
