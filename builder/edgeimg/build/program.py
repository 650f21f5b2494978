"""The installer's image: its built-in recipe, and the Python package that is running as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path, PurePosixPath

from edgeimg import builtin
from edgeimg.arch import Arch
from edgeimg.build import debian_packages
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.compose import byte_code
from edgeimg.errors import RecipeError
from edgeimg.install.medium import Maker
from edgeimg.pack import scratch
from edgeimg.progress import Progress
from edgeimg.recipe.board import CONSOLE
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.tools import Toolbox
from edgeimg.tree import Node, Tree
from edgeimg.tree.overlay import from_directory

_PLACE = "usr/lib/python3/dist-packages/edgeimg"
"""Where Debian's Python finds packages."""
_ORIGIN = "edgeimg"
_DATA = "data"
_INSTALLER = "installer"
_RECIPE = "gateway.toml"
"""What `edgeimg install` asks for the consents of an image that does not say them itself."""


def recipe() -> RecipeFile:
    """The built-in recipe of the installer."""
    return load(builtin.find(_INSTALLER))


def with_consoles(source: RecipeFile, consoles: Sequence[str]) -> RecipeFile:
    """The recipe with more consoles, as the kernel's `console=` takes them.

    Raises RecipeError for what names no console.
    """
    if wrong := [one for one in consoles if not re.fullmatch(CONSOLE, one)]:
        raise RecipeError(
            f"{', '.join(wrong)}: expected a console", hint="such as ttyS1 or ttyS1,115200n8"
        )
    words = (*source.recipe.kernel.cmdline, *(f"console={one}" for one in consoles))
    kernel = source.recipe.kernel.model_copy(update={"cmdline": words})
    return replace(source, recipe=source.recipe.model_copy(update={"kernel": kernel}))


def plan_installer(source: RecipeFile, arch: Arch, build_options: BuildOptions) -> BuildPlan:
    """The plan of the installer's image: `source`, edgeimg as it runs here, and byte code."""
    plan = plan_build(source, arch, build_options)
    lock = byte_code.with_interpreter(plan.lock)
    return replace(plan, overlay=plan.overlay.merge(tree()), lock=lock)


def medium_maker(plan: BuildPlan, pack: Toolbox, store: Store, progress: Progress) -> Maker:
    """What makes CD images and kernel images of the installer, with the tools of its lock."""
    tools = debian_packages.host_tools(
        plan.lock, "iso", store, offline=plan.offline, progress=progress
    )
    return Maker(arch=plan.arch, epoch=plan.recipe.image.epoch, pack=pack, iso=tools)


def write_stub(plan: BuildPlan, path: Path, store: Store, progress: Progress) -> Path:
    """Write the stub of UKIs of the plan's systemd-boot to `path`, and return it."""
    (package,) = debian_packages.group(plan, "boot", store, progress)
    node = package.tree[f"usr/lib/systemd/boot/efi/linux{plan.arch.efi}.efi.stub"]
    return scratch.write(node.content, path)


def tree() -> Tree:
    """The package without what Python compiled, and of the built-in parts the default recipe.

    A checkout and an installation give equal trees. Raises ArchiveError.
    """
    package = from_directory(Path(str(files("edgeimg"))), origin=_ORIGIN).without(_is_left_out)
    default = from_directory(builtin.directory("recipes"), origin=_ORIGIN)[_RECIPE]
    nodes = {**dict(package.items()), f"{_DATA}/recipes/{_RECIPE}": default}
    return Tree().with_nodes({f"{_PLACE}/{path}": node for path, node in nodes.items()})


def _is_left_out(path: str, _: Node) -> bool:
    parts = PurePosixPath(path).parts
    return "__pycache__" in parts or parts[0] == _DATA
