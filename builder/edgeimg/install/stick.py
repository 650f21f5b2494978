"""The stick of the installer: its image, with what it installs on the config partition.

The files have fixed places there (`installer/…`), so that a person can add them later as well, and
rules name them by these places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.errors import BudgetError, ImageError, ProvisionError
from edgeimg.fleet import rollout_tokens, token
from edgeimg.fleet.facts import stem
from edgeimg.image import blockmap
from edgeimg.image.layout import SIGNATURE, SUMS
from edgeimg.image.manifest import SUFFIX
from edgeimg.install import rules, source
from edgeimg.provision import partition, target
from edgeimg.tools import Toolbox

DIRECTORY = "installer"
"""On the config partition."""
IMAGES = "images"
RULES = "install.toml"
KEY = "key.asc"
DEFAULTS = "defaults.toml"
FLEETS = ("fleet.csv", "fleet.toml")
README = "README.txt"
TEXT = b"""\
This directory belongs to the installer. Its files are:\r
\r
images/       the images: of each NAME.raw.zst, NAME.bmap and NAME.manifest.json,\r
              and the SHA256SUMS and SHA256SUMS.gpg of their release\r
install.toml  rules: with them the stick installs without a question\r
fleet.csv     the gateways (or fleet.toml), defaults.toml, fleet.token\r
key.asc       public key that the images are signed with\r
\r
The installer adds a ledger of the disks, and install.log.\r
"""
_OVERHEAD = 4 << 20
"""Bytes of the tables of the file system, and of what the installer writes."""


def image_files(images: Iterable[Path]) -> dict[str, Path]:
    """Place on the stick → file, of images and what belongs to them.

    Raises ImageError for two images of the same name.
    """
    found: dict[str, Path] = {}
    for image in images:
        name = stem(image)
        beside = [image, blockmap.beside(image), image.with_name(f"{name}{SUFFIX}")]
        beside += [image.with_name(SUMS), image.with_name(SIGNATURE)]
        for path in beside:
            place = f"{IMAGES}/{name}/{path.name}"
            if place in found and found[place].resolve() != path.resolve():
                raise ImageError(
                    f"{found[place]} and {path} have the same name",
                    hint="make a stick of each",
                )
            if path.is_file():
                found[place] = path
    return found


def fleet_files(fleet: Path, defaults: Path | None) -> dict[str, Path]:
    """Place on the stick → file, of a fleet with its defaults and tokens.

    Raises ProvisionError for a fleet in another format.
    """
    place = f"fleet{fleet.suffix.lower()}"
    if place not in FLEETS:
        raise ProvisionError(f"{fleet.name}: expected a fleet file that ends in .csv or .toml")
    files = {place: fleet}
    for beside in (token.kept, rollout_tokens.kept):
        if beside(fleet).is_file():
            files[beside(Path(place)).name] = beside(fleet)
    return files | ({DEFAULTS: defaults} if defaults else {})


def require_rules(path: Path, places: Sequence[str], arch: Arch) -> None:
    """Raises ProvisionError when rules are malformed, or name what is not on the stick.

    `places` are those of the files on the stick, as the rules name them.
    """
    loaded = rules.load(path)
    folder = path.resolve().parent
    problems = []
    for key in ("image", "key", "fleet", "defaults", "ledger", "logs"):
        value = getattr(loaded, key)
        if value is None:
            continue
        if not value.is_relative_to(folder):
            problems.append(f"{key}: {value} is not on the stick")
            continue
        place = value.relative_to(folder).as_posix()
        if key == "image":
            problems += _image_problems(place, places, arch)
        elif key not in ("ledger", "logs") and place not in places:
            problems.append(f"{key}: the stick has no {place}")
    if problems:
        there = ", ".join([IMAGES, *(one for one in places if "/" not in one)])
        raise ProvisionError(
            "\n  ".join([f"{path} does not fit the stick:", *problems]),
            hint=f"paths are relative to the rules, and the stick has {there}",
        )


def _image_problems(place: str, places: Sequence[str], arch: Arch) -> list[str]:
    images = [one for one in places if one.endswith(source.ENDINGS)]
    below = [one for one in images if one == place or one.startswith(f"{place}/")]
    if len(below) == 1:
        return []
    count = f"{len(below)} images for {arch.name}" if below else "no image"
    return [f"image: {place} has {count} on the stick, expected one"]


def require_room(files: Mapping[str, Path], size: int) -> None:
    """Raises BudgetError when the files do not fit the config partition of `size` bytes."""
    needed = sum(path.stat().st_size for path in files.values()) + _OVERHEAD
    if needed > size:
        raise BudgetError(
            f"the files take {needed >> 20} MiB, and a stick has room for {size >> 20} MiB",
            hint="make several sticks with fewer images",
        )


def make(image: Path, output: Path, files: Mapping[str, Path], *, toolbox: Toolbox) -> None:
    """Write `output`: the installer's `image` with the files at their places.

    Raises ImageError, ToolError, HostError, ProvisionError when they are not there afterwards.
    """
    placed = {f"{DIRECTORY}/{place}": path for place, path in files.items()}

    def add(raw: Path) -> None:
        partition.add(raw, placed, toolbox=toolbox)

    target.copy(image, output, add, toolbox=toolbox)
