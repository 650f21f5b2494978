"""The project that `edgeimg init` starts: recipe, lock, overlay, CI pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeimg import __version__, builtin
from edgeimg.lock.file import encode_lock, read_lock
from edgeimg.recipe.file import load
from edgeimg.recipe.model import recipe_schema
from edgeimg.resolve import builtin_parts

_RECIPE = """\
#:schema recipe.schema.json
# Your gateway: edgeimg's default one, and what is written here on top. Tables are merged, lists
# appended, everything else is replaced. `edgeimg show gateway` prints what is included, `edgeimg
# show` all that can be: "edgeimg:updates", "edgeimg:services/wifi", ...
# After changing [packages] or [k3s], and after updating edgeimg, run `edgeimg lock`.
include = ["edgeimg:gateway"]

[image]
id = "gateway"             # first part of every file name
version = "0.1.0"          # no "_" and no "+"

[overlay]
paths = ["overlays/mine"]  # files of yours; they win over edgeimg's
"""
_OVERLAY_NOTE = """\
Files below this directory go into the image, at the same place in its root:
usr/lib/sysctl.d/50-mine.conf becomes /usr/lib/sysctl.d/50-mine.conf.
They become root's, with mode 0755 when executable and 0644 otherwise.
Directories with nothing in them are left out; tmpfiles.d makes such ones on the gateway.
"""
_IGNORED = "/out/\n# Secrets of a fleet.\n*.token\n*.rollout\n.*.partial\n"

PIPELINES: Mapping[str, Mapping[str, str]] = {
    "github": {
        ".github/workflows/release.yml": "ci/github/workflow.yml",
        ".github/actions/release/action.yml": "ci/github/action.yml",
    },
    "gitlab": {".gitlab-ci.yml": "ci/gitlab/pipeline.yml"},
}
"""CI service → path in the project → its built-in template."""


def write(directory: Path, ci: str | None = None) -> list[Path]:
    """Write the files that are not there yet below `directory`; returns what was written.

    `ci` is a key of PIPELINES, whose files install this version of edgeimg.
    """
    recipe = directory / "recipes/gateway.toml"
    files = {
        recipe: _RECIPE,
        directory / "recipes/recipe.schema.json": json.dumps(recipe_schema(), indent=2) + "\n",
        directory / "overlays/mine/usr/share/doc/overlay.txt": _OVERLAY_NOTE,
        directory / ".gitignore": _IGNORED,
        **{directory / path: _pipeline(name) for path, name in PIPELINES.get(ci or "", {}).items()},
    }
    written = [path for path, text in files.items() if _write_new(path, text)]
    if recipe in written and _write_new(lock := recipe.with_suffix(".lock.toml"), _lock(recipe)):
        written.append(lock)
    return written


def _pipeline(name: str) -> str:
    text = builtin.directory(name).read_text(encoding="utf-8")
    return text.replace("@VERSION@", __version__)


def _lock(recipe: Path) -> str:
    """That of the default recipe, whose packages these are, with the built-in parts recorded."""
    locked = read_lock(builtin.directory("recipes/gateway.lock.toml"))
    return encode_lock(replace(locked, builtin=builtin_parts.parts_of(load(recipe))))


def _write_new(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
