"""Finished images of other builders, by way of a shared cache.

An entry is JSON: `{"format": FORMAT, "key": KEY, "files": {NAME: {"sha256": …, "size": …}}}`. It
names exactly the files of the image of that key. There is no archive, so no path comes from the
cache. An image is used when every digest matches, its manifest is of the same key, and its disk
unpacks to the size that the manifest states.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from edgeimg.build import result
from edgeimg.build.plan import BuildPlan
from edgeimg.build.result import Built
from edgeimg.cache.store import require_room
from edgeimg.errors import EdgeimgError, HostError, ImageError
from edgeimg.fetch.shared_cache import SharedCache
from edgeimg.image import raw
from edgeimg.image.layout import FILES
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.pack import disk, publish
from edgeimg.text import json_text
from edgeimg.text.json_text import Json, MalformedError
from edgeimg.ui import Ui

FORMAT = "edgeimg-image/1"
LIMITS = {".bmap": 16 << 20, SUFFIX: 32 << 20, ".raw.zst": 4 << 30}
"""Bytes of each file."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def find(plan: BuildPlan, cache: SharedCache, ui: Ui) -> Built | None:
    """The image of `plan` from the cache, published as a build publishes it; None is a miss.

    Raises HostError.
    """
    try:
        return _find(plan, cache, ui)
    finally:
        ui.debug(cache.summary)


def _find(plan: BuildPlan, cache: SharedCache, ui: Ui) -> Built | None:
    entry = cache.entry(plan.key)
    if entry is None:
        return None
    try:
        files = _listed(entry, plan)
    except MalformedError as error:
        cache.reject(plan.key, str(error))
        return None

    def fill(work: Path) -> bool:
        try:
            require_room(work, sum(length for _, length in files.values()))
        except HostError as error:  # the server names the sizes
            ui.note(f"{plan.arch.name}: not from the shared cache: {error.message}")
            return False
        for name, (sha256, length) in sorted(files.items(), key=lambda item: item[1][1]):
            if not cache.blob(sha256, length, work / name):
                return False
        try:
            _check(work, plan)
        except (EdgeimgError, ValueError, LookupError) as error:
            cache.reject(plan.key, str(error))
            return False
        return True

    if not publish.adopt(plan.directory, fill, name=plan.name):
        return None
    ui.note(f"{plan.arch.name}: the image comes from the shared cache {cache.where.name}")
    found = result.existing(plan, ui)
    return None if found is None else replace(found, unchanged=False)


def offer(built: Built, cache: SharedCache, ui: Ui) -> None:
    """Store an image that was built here. The entry comes last: its blobs exist before it."""
    if _put_files(built, cache):
        ui.debug(cache.summary)
    elif not cache.is_given_up:
        ui.note(f"{built.plan.arch.name}: the shared cache does not have the image (see --verbose)")


def _put_files(built: Built, cache: SharedCache) -> bool:
    files: dict[str, dict[str, object]] = {}
    limits = {f"{built.plan.name}{suffix}": limit for suffix, limit in LIMITS.items()}
    if any(file.size > limits[name] for name, file in built.files.items()):
        return False  # nobody would take it
    for name, file in built.files.items():
        sha256 = cache.put_blob(built.directory / name)
        if sha256 is None:
            return False
        files[name] = {"sha256": sha256, "size": file.size}
    entry = {"format": FORMAT, "key": built.plan.key, "files": files}
    return cache.put_entry(built.plan.key, json.dumps(entry, sort_keys=True).encode())


def _listed(entry: bytes, plan: BuildPlan) -> dict[str, tuple[str, int]]:
    """Digest and size of each file by name. Raises MalformedError for an entry of another shape."""
    document: Json = json_text.parse(entry, values=64)
    if not isinstance(document, dict) or document.keys() != {"format", "key", "files"}:
        raise MalformedError("not an entry of an image")
    if document["format"] != FORMAT or document["key"] != plan.key:
        raise MalformedError("an entry of another format or key")
    rows, names = document["files"], {f"{plan.name}{suffix}": suffix for suffix in FILES}
    if not isinstance(rows, dict) or rows.keys() != names.keys():
        raise MalformedError("not the files of the image")
    files = {}
    for name, row in rows.items():
        if not isinstance(row, dict) or row.keys() != {"sha256", "size"}:
            raise MalformedError(f"{name} without digest and size")
        sha256, length = row["sha256"], row["size"]
        if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
            raise MalformedError(f"{name} has no SHA-256")
        if type(length) is not int or not 0 < length <= LIMITS[names[name]]:
            raise MalformedError(f"{name} has a size out of range")
        files[name] = (sha256, length)
    return files


def _check(work: Path, plan: BuildPlan) -> None:
    """The manifest in `work` must be of the plan, and the disk as large as the recipe makes it.

    Raises ImageError and whatever a plan of the disk raises: BudgetError, ValueError, LookupError.
    """
    manifest = Manifest.read(work / f"{plan.name}{SUFFIX}")
    contents, image = manifest.contents, plan.recipe.image
    expected = (plan.key, image.id, image.version, plan.arch.name)
    found = (manifest.digests.get("build"), contents.id, contents.version, contents.arch)
    if found != expected:
        raise ImageError("its manifest is of another image")
    sizes = {"root-a": manifest.sizes["root"], "root-a-verity": manifest.sizes["verity"]}
    size = disk.plan(plan.recipe, plan.arch, manifest.root_hash, sizes).size
    if raw.measure(work / f"{plan.name}.raw.zst", limit=size) != size:
        raise ImageError("its disk has another size than the recipe's")
