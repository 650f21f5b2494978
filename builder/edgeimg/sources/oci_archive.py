"""Container images in files, and their contents.

Formats: an OCI image layout (image-spec 1.1) as a directory or a tar, and archives of `docker
save`; both also compressed. No content is used before its digest matches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edgeimg.arch import Arch
from edgeimg.errors import ArchiveError
from edgeimg.sources import oci_config, oci_files
from edgeimg.sources.oci_blobs import digest_of, parse_json, read_small
from edgeimg.sources.oci_files import Archive, Tar
from edgeimg.sources.oci_layers import Layer
from edgeimg.sources.oci_selection import Candidate, choose, find_candidates
from edgeimg.text.json_text import JsonObject

_UNREADABLE = (KeyError, TypeError, AttributeError, IndexError, ValueError, OSError, EOFError)


@dataclass(frozen=True, kw_only=True)
class OciImage:
    """One image for one architecture, as its configuration describes it."""

    name: str
    """Its name in the archive; empty without one."""
    digest: str
    """`sha256:…` of the configuration, which names every layer: the image ID of Docker."""
    manifest: str
    """`sha256:…` of its manifest; empty for an archive of `docker save`."""
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    workdir: str
    user: str
    run: JsonObject
    """Its settings for running it (image-spec, config.md, `config`)."""
    layers: tuple[Layer, ...] = field(repr=False)


@contextlib.contextmanager
def open_image(path: Path, arch: Arch, tag: str = "", *, label: str = "") -> Iterator[OciImage]:
    """The image for `arch` in the archive at `path`; its layers can be read within the block.

    `tag` selects one of several images: by its tag or its whole name. `label` names the archive in
    errors, instead of its path.
    Raises ArchiveError for files without a container image, without one of that tag, or with
    several; ArchitectureError when none is for `arch`; DigestError for a blob that does not match
    its name.
    """
    label = label or str(path)
    with _readable(label), oci_files.opened(path, label) as archive:
        yield _described(archive, choose(find_candidates(archive, arch, label, tag), label), label)


@contextlib.contextmanager
def open_images(file: BinaryIO, arch: Arch, label: str) -> Iterator[list[OciImage]]:
    """All images for `arch` in a plain tar, by name; see `open_image`."""
    with _readable(label):
        archive = Tar(file, label)
        by_name: dict[str, list[Candidate]] = {}
        for candidate in find_candidates(archive, arch, label, ""):
            by_name.setdefault(candidate.name, []).append(candidate)
        yield [
            _described(archive, choose(candidates, label), label) for candidates in by_name.values()
        ]


def tags(path: Path, *, label: str = "") -> list[str]:
    """The names in the archive at `path` that `docker save` wrote; see `open_image` for `label`.

    Raises ArchiveError.
    """
    label = label or str(path)
    with _readable(label), oci_files.opened(path, label) as archive:
        entries = parse_json(read_small(archive, "manifest.json", label))
        return [tag for entry in entries for tag in oci_config.texts(entry["RepoTags"], "RepoTags")]


@contextlib.contextmanager
def _readable(label: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = (isinstance(error, OSError) and error.strerror) or error or repr(error)
        raise ArchiveError(f"{label} is no container image: {reason}") from error


def _described(archive: Archive, candidate: Candidate, label: str) -> OciImage:
    config = parse_json(candidate.config)
    digests = [oci_config.digest(value) for value in config["rootfs"]["diff_ids"]]
    if len(digests) != len(candidate.layers):
        raise ArchiveError(
            f"{label}: {len(candidate.layers)} layers, but {len(digests)} are described"
        )
    try:
        run = oci_config.run(config)
    except ValueError as error:
        raise ArchiveError(f"{label}: the image's configuration: {error}") from None
    pairs = (entry.partition("=") for entry in run.get("Env") or ())
    return OciImage(
        name=candidate.name,
        digest=digest_of(candidate.config),
        manifest=candidate.manifest,
        entrypoint=tuple(run.get("Entrypoint") or ()),
        command=tuple(run.get("Cmd") or ()),
        environment={name: value for name, _, value in pairs},
        workdir=run.get("WorkingDir") or "/",
        user=run.get("User") or "",
        run=run,
        layers=tuple(
            _layer(archive, name, digest)
            for name, digest in zip(candidate.layers, digests, strict=True)
        ),
    )


def _layer(archive: Archive, name: str, digest: str) -> Layer:
    return Layer(digest=digest, open=lambda: archive.open(name))
