"""What makes an image one gateway's: files for the config partition (docs/provisioning.md).

The guest's side is overlays/base/usr/lib/edgeimg/provision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from builder.errors import ImageError
from builder.pack import disk, fat
from builder.tools import Toolbox

DIRECTORY = "edgeimg"
"""On the config partition; everything of ours is in it."""
Value = str | bool | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Provision:
    """One gateway's settings; what is left empty stays as the gateway has it."""

    hostname: str = ""
    keys: tuple[str, ...] = ()
    """Public keys of those who may log in, as in authorized_keys."""
    k3s: Mapping[str, Value] = field(default_factory=dict, repr=False)
    """Options of K3s, and `role`. Holds secrets."""
    network: Mapping[str, str] = field(default_factory=dict)
    """Files of systemd.network(5), by name."""


def files(provision: Provision) -> dict[str, bytes]:
    """The files of the config partition, by path."""
    texts: dict[str, str] = {}
    if provision.hostname:
        texts["hostname"] = provision.hostname + "\n"
    if provision.keys:
        texts["authorized_keys"] = "".join(f"{key.strip()}\n" for key in provision.keys)
    if provision.k3s:
        texts["k3s.yaml"] = "".join(
            f"{key}:{_yaml(value)}\n" for key, value in sorted(provision.k3s.items())
        )
    for name, text in provision.network.items():
        texts[f"network/{name}"] = text
    return {f"{DIRECTORY}/{path}": text.encode() for path, text in texts.items()}


def _yaml(value: Value) -> str:
    """A value in the form of YAML that the gateway takes: always quoted, so a text stays one.

    Raises ValueError for a text that would need an escape.
    """
    if isinstance(value, bool):
        return f" {str(value).lower()}"
    if isinstance(value, tuple):
        return "".join(f"\n  - {_quoted(item)}" for item in value)
    return f" {_quoted(value)}"


def _quoted(text: str) -> str:
    if '"' not in text and "\\" not in text and text.isprintable():
        return f'"{text}"'
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    raise ValueError("a value has both kinds of quotes, or is no line of text")


def write(image: Path, wanted: Mapping[str, bytes], *, toolbox: Toolbox) -> None:
    """Put files (path on the config partition → content) into a raw disk image, in its place.

    Raises ImageError when it has no config partition, ToolError when they do not fit.
    """
    layout = disk.read(image, toolbox=toolbox)
    config = next((part for part in layout.partitions if part.label == "config"), None)
    if config is None:
        raise ImageError(f"{image.name} has no config partition: it is no image of edgeimg")
    with tempfile.TemporaryDirectory(prefix="edgeimg-provision-") as name:
        sources = {}
        for number, (path, content) in enumerate(sorted(wanted.items())):
            sources[path] = Path(name, str(number))
            sources[path].write_bytes(content)
        fat.add(image, sources, offset=config.start, toolbox=toolbox)


def read(image: Path, path: str, *, toolbox: Toolbox) -> bytes:
    """A file of an image's config partition. Raises ToolError when it is not there."""
    config = disk.read(image, toolbox=toolbox)["config"]
    with tempfile.TemporaryDirectory(prefix="edgeimg-provision-") as name:
        output = Path(name, PurePosixPath(path).name)
        fat.extract(image, path, output, offset=config.start, toolbox=toolbox)
        return output.read_bytes()
