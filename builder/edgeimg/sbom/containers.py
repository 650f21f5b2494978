"""Names and contents of the container images in the root.

Formats: OCI image layout (image-spec 1.1) and `docker save` archives; layers as tar, gzip, zstd.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.sources.deb import parse_control
from edgeimg.sources.oci_archive import OciImage, open_images
from edgeimg.sources.oci_layers import flatten
from edgeimg.tree import Content, Kind
from edgeimg.tree.files import Reader

_STATUS = "var/lib/dpkg/status"
_PREFIX = "org.opencontainers.image."


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image of an archive."""

    name: str
    """Its full reference: `localhost/edgeimg/pause:1`."""
    digest: str
    """`sha256:…` of its manifest; of its configuration for a `docker save` archive."""
    labels: dict[str, str]
    """Those of the image-spec, without `org.opencontainers.image.`."""
    files: dict[str, bytes]
    """The files of all layers, later ones on top."""

    def packages(self) -> Iterator[dict[str, str]]:
        """The control fields of the Debian packages installed in it."""
        for path, content in sorted(self.files.items()):
            if path == _STATUS or path.startswith(f"{_STATUS}.d/"):
                for paragraph in content.decode("utf-8", "replace").split("\n\n"):
                    if paragraph.strip():
                        fields = parse_control(paragraph, f"{self.name}: {path}")
                        if "installed" in fields.get("Status", "installed").split():
                            yield fields


def read(content: Content, arch: Arch, label: str) -> list[Image]:
    """The images for `arch` in an archive; `label` names it.

    Raises ArchiveError for a file that is no archive of images, DigestError for a blob whose
    digest differs from its name.
    """
    with (
        Reader() as reader,
        open_images(reader.open(content), arch, label) as images,
        tempfile.TemporaryDirectory(prefix="edgeimg-sbom.") as scratch,
    ):
        return [_image(image, Store(Path(scratch)), label) for image in images]


def _image(image: OciImage, store: Store, label: str) -> Image:
    tree = flatten(image.layers, store=store, origin=f"{label}: {image.name}").tree
    labels = image.run.get("Labels") or {}
    return Image(
        name=image.name or label,
        digest=image.manifest or image.digest,
        labels={
            key.removeprefix(_PREFIX): str(value)
            for key, value in labels.items()
            if key.startswith(_PREFIX)
        },
        files={path: node.read() for path, node in tree.items() if node.kind is Kind.FILE},
    )
