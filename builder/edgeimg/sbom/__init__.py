"""The bill of materials of an image.

The functions import their modules when they are called: the list of SPDX identifiers takes a while
to load, and most commands do not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeimg.sbom.model import IMAGE, Component, Distribution, Kind, Sbom, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeimg.compose.kernel_deb import Kernel
    from edgeimg.image.manifest import Contents
    from edgeimg.lock.model import ImagePin
    from edgeimg.sbom.debian import Groups
    from edgeimg.sources.k3s import K3sBundle
    from edgeimg.tree import Tree

__all__ = [
    "IMAGE",
    "Component",
    "Distribution",
    "Kind",
    "Sbom",
    "Source",
    "cyclonedx",
    "describe_contents",
    "rows",
    "spdx",
]


def describe_contents(
    *,
    contents: Contents,
    root: Tree,
    groups: Groups,
    kernel: Kernel,
    k3s: K3sBundle | None,
    images: Mapping[str, ImagePin],
) -> Sbom:
    """Everything that is inside one image; see `assemble.describe`."""
    from edgeimg.sbom import assemble

    return assemble.describe(
        contents=contents, root=root, groups=groups, kernel=kernel, k3s=k3s, images=images
    )


def cyclonedx(sbom: Sbom) -> bytes:
    """The CycloneDX 1.6 document (JSON); equal Sboms give equal bytes."""
    from edgeimg.sbom import cyclonedx_file

    return cyclonedx_file.encode(sbom)


def spdx(sbom: Sbom) -> bytes:
    """The SPDX 2.3 document (JSON); equal Sboms give equal bytes."""
    from edgeimg.sbom import spdx_file

    return spdx_file.encode(sbom)


def rows(sbom: Sbom) -> list[dict[str, str]]:
    """`name`, `version`, `kind`, `licence`, `purl` of every component, by kind and name."""
    from edgeimg.sbom import table

    return table.rows(sbom)
