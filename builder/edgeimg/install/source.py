"""The images on the stick: a file, or those of a directory for this architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.errors import ImageError
from edgeimg.fleet.facts import stem
from edgeimg.image.manifest import SUFFIX, Manifest

ENDINGS = (".raw.zst", ".raw")
"""Of the names of image files."""


def images(path: Path, arch: Arch) -> tuple[Path, ...]:
    """The image file `path`, or the image files for `arch` in the directory `path`.

    Those of its subdirectories count, but for hidden ones.

    Raises ImageError for a file or a directory without an image for `arch`.
    """
    if not path.is_dir():
        if not path.is_file():
            raise ImageError(f"there is no image {path}", hint="name a file or a directory")
        other = arch_of(path)
        if other not in ("", arch.name):
            raise ImageError(
                f"{path} is an image for {other}, and this machine is {arch.name}",
                hint="name an image for it",
            )
        return (path,)
    below = (one for one in (*path.glob("*"), *path.glob("*/*")) if one.name.endswith(ENDINGS))
    files = sorted(one for one in below if not _is_hidden(one.relative_to(path)))
    # A packed image and its raw one are the same image.
    packed = {one.with_suffix("") for one in files if one.suffix == ".zst"}
    found = [one for one in files if one not in packed and arch_of(one) in ("", arch.name)]
    if not found:
        raise ImageError(f"there is no image for {arch.name} in {path}", hint="see what is in it")
    return tuple(found)


def one(found: Sequence[Path]) -> Path:
    """The only image. Raises ImageError when there are several."""
    if len(found) > 1:
        names = "\n  ".join(path.name for path in found)
        raise ImageError(
            f"{len(found)} images are in {found[0].parent}, expected one:\n  {names}",
            hint="name one of them",
        )
    return found[0]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def arch_of(image: Path) -> str:
    """The architecture in the manifest beside an image; empty without one. Raises ImageError."""
    manifest = image.with_name(f"{stem(image)}{SUFFIX}")
    return Manifest.read(manifest).contents.arch if manifest.is_file() else ""
