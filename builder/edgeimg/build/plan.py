"""The plan of a build as plain values, and the key of its result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.build import overlays, project_files
from edgeimg.build.options import BuildOptions
from edgeimg.cache.store import key, sha256_file, source_digest
from edgeimg.compose.vendor_kernel import VendorKernel
from edgeimg.errors import ArchiveError, DigestError, LockError, RecipeError
from edgeimg.lock.file import read_lock
from edgeimg.lock.model import ArchLock, K3sAsset, Lock
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Image
from edgeimg.resolve import builtin_parts
from edgeimg.resolve.requests import verify
from edgeimg.sources import standin
from edgeimg.tree import Tree

_LARGEST_K3S = 1 << 30
"""Bytes; releases have less than 100 MB."""


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """One image to be built: its recipe, lock and overlay, read and validated."""

    arch: Arch
    recipe: Recipe
    """With the overrides of `arch` and of the command line applied."""
    lock: Lock
    overlay: Tree
    links: Mapping[str, tuple[str, int]]
    """File of the project and line of each link of the recipe, by its path in the image."""
    project_files: Mapping[str, Tree]
    """The project's files of each service and of each image for pods, by its name."""
    manifests: Mapping[str, Tree]
    """The project's manifests of each workload."""
    kernel: VendorKernel | None
    """The vendor's kernel, which is the locked one; None for a package of the archive."""
    board: Tree
    """The project's files of the board; empty without one."""
    builtin: Mapping[str, str]
    """Digests of the parts of edgeimg that it uses, by name."""
    update_key: bytes
    """The binary OpenPGP keyring that the gateway trusts for updates; empty without [update]."""
    settings_key: bytes
    """The same for settings; empty if they need no signature."""
    enrolment: Mapping[str, bytes] = field(default_factory=dict)
    """Variables of Secure Boot that the boot loader writes into firmware, by file name."""
    k3s_identity: str
    """Names the K3s binary: its source, and its digest or that of its sources."""
    project: Path
    """Where the recipe's paths start."""
    output: Path
    offline: bool
    over_budget: bool

    @property
    def inputs(self) -> ArchLock:
        """The locked inputs of the architecture."""
        return self.lock.images[self.arch.name]

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the project whose files go into the image: overlays, contents of containers,
        manifests, keys of updates, settings and Secure Boot, the kernel, the files of the board.
        """
        containers = self.recipe.contents().values()
        sources = (path for contents in containers for path in contents.paths(self.arch.name))
        manifests = (workload.manifests for workload in self.recipe.workloads.values())
        board, kernel = self.recipe.board, self.recipe.kernel.path(self.arch.name)
        keys, trust = (self.recipe.update.key, self.recipe.provision.key), self.recipe.trust
        single = [
            path for path in (*keys, trust.secure_boot, kernel, board and board.files) if path
        ]
        return (*self.recipe.overlay.paths, *sources, *manifests, *single)

    @property
    def name(self) -> str:
        """`<id>_<version>_<arch>[_<board>]`: the first part of every file name."""
        return image_name(self.recipe, self.arch)

    @property
    def directory(self) -> Path:
        """Where the finished files go."""
        return self.output / self.name

    @cached_property
    def key(self) -> str:
        """Names the build: equal keys mean equal bytes."""
        facts = {
            "arch": self.arch.name,
            "recipe": self.recipe.digest(),
            "inputs": asdict(self.inputs),
            "tools": [
                package.sha256
                for host in self.lock.tools.get("pack", {}).values()
                for package in host
            ],
            "overlay": self.overlay.digest(),
            "files": {name: tree.digest() for name, tree in sorted(self.project_files.items())},
            "manifests": {name: tree.digest() for name, tree in sorted(self.manifests.items())},
            "update_key": sha256(self.update_key).hexdigest(),
            "settings_key": sha256(self.settings_key).hexdigest(),
            "k3s": self.k3s_identity,
            **({"board": self.board.digest()} if self.recipe.board else {}),
            **(
                {"enrolment": {name: sha256(data).hexdigest() for name, data in enrolled}}
                if (enrolled := sorted(self.enrolment.items()))
                else {}
            ),
            # An image that was let through is not one that an ordinary build may find again.
            **({"over_budget": True} if self.over_budget else {}),
        }
        return key("image", source_digest(), json.dumps(facts, sort_keys=True))


def image_name(recipe: Recipe, arch: Arch) -> str:
    """`<id>_<version>_<arch>`, and `_<board>` behind it when there is one."""
    image, board = recipe.image, recipe.board
    name = f"{image.id}_{image.version}_{arch.name}"
    return f"{name}_{board.name}" if board else name


def plan_builds(
    source: RecipeFile, archs: Sequence[Arch], options: BuildOptions
) -> tuple[BuildPlan, ...]:
    """Read all inputs of the builds except downloads, once. Nothing is written.

    Raises LockError when the lock is missing, stale or lacks the K3s release, RecipeError for a
    missing overlay, K3s file or kernel, or a bad update key, DigestError for a changed kernel.
    """
    lock = _lock(source)
    return tuple(plan_build(source, arch, options, lock) for arch in archs)


def plan_build(
    source: RecipeFile, arch: Arch, options: BuildOptions, lock: Lock | None = None
) -> BuildPlan:
    """The plan of one architecture, from a verified lock or the recipe's; see `plan_builds`."""
    _require_arch(source, arch)
    lock = lock or _lock(source)
    builtin = builtin_parts.verify(source, lock)
    recipe = _with_epoch(source.recipe.for_arch(arch), os.environ.get("SOURCE_DATE_EPOCH"))
    if options.k3s is not None:
        if recipe.k3s.is_absent:
            raise RecipeError(
                f'{source.path}: k3s.source is "none": the image has no K3s',
                hint="leave out --k3s, or set k3s.source to another value in the recipe",
            )
        k3s = recipe.k3s.model_copy(update=asdict(options.k3s))
        recipe = recipe.model_copy(update={"k3s": k3s})
    return BuildPlan(
        arch=arch,
        recipe=recipe,
        lock=lock,
        overlay=overlays.read(source, recipe),
        links=overlays.places(source),
        project_files={
            group.partition(":")[2]: project_files.container_files(source, group, contents, arch)
            for group, contents in recipe.contents().items()
        },
        manifests={
            name: project_files.manifests(source, name, workload)
            for name, workload in recipe.workloads.items()
        },
        update_key=project_files.keyring(source, "update.key", recipe.update.key),
        settings_key=project_files.keyring(source, "provision.key", recipe.provision.key),
        enrolment=project_files.enrolment(source, recipe, arch),
        k3s_identity=_k3s_identity(recipe, arch, lock),
        kernel=_kernel(source, recipe, arch, lock),
        board=project_files.board_files(source, recipe),
        builtin=builtin.parts if builtin else {},
        project=source.project,
        output=options.output,
        offline=options.offline,
        over_budget=options.over_budget,
    )


def k3s_file(recipe: Recipe) -> Path:
    """The K3s binary of `source = "file"`. Raises RecipeError when it is missing."""
    path = recipe.k3s.path
    if path is None:
        raise RecipeError(
            'k3s.source is "file", but no path is given',
            hint="set k3s.path in the recipe or use --k3s PATH",
        )
    if not path.is_file():
        raise RecipeError(f"there is no K3s binary at {path}")
    if path.stat().st_size > _LARGEST_K3S:
        raise ArchiveError(f"{path} is larger than {_LARGEST_K3S >> 20} MiB: no K3s binary")
    return path


def k3s_release(arch: Arch, lock: Lock) -> K3sAsset:
    """The K3s release that the lock pins for `arch`. Raises LockError when it pins none."""
    asset = lock.images[arch.name].k3s
    if asset is None:
        raise LockError(
            f"the lock pins no K3s release for {arch.name}",
            hint='set k3s.source = "release" in the recipe and run `edgeimg lock`',
        )
    return asset


def _lock(source: RecipeFile) -> Lock:
    if source.given_board and not source.lock_path.exists():
        raise LockError(
            f"there is no {source.lock_path}", hint="make it: `edgeimg lock` with the same --board"
        )
    lock = read_lock(source.lock_path)
    verify(source.recipe, lock)
    return lock


def _kernel(source: RecipeFile, recipe: Recipe, arch: Arch, lock: Lock) -> VendorKernel | None:
    found, pin = project_files.kernel(source, recipe, arch), lock.images[arch.name].kernel
    if found and pin and found.pin.sha256 != pin.sha256:
        raise DigestError(
            f"{found.place} has the sha256 {found.pin.sha256[:12]}…, locked is {pin.sha256[:12]}…",
            hint="take the new one with `edgeimg lock`",
        )
    return found


def _k3s_identity(recipe: Recipe, arch: Arch, lock: Lock) -> str:
    match recipe.k3s.source:
        case "release":
            return f"release {k3s_release(arch, lock).sha256}"
        case "file":
            return f"file {sha256_file(k3s_file(recipe))}"
        case "standin":
            standin.require()
            return f"standin {standin.digest(standin.SOURCES)}"
        case "none":
            return "none"


def _with_epoch(recipe: Recipe, epoch: str | None) -> Recipe:
    """The recipe with its time stamp replaced (reproducible-builds.org, SOURCE_DATE_EPOCH)."""
    if not epoch:
        return recipe
    try:
        image = Image.model_validate({**recipe.image.model_dump(), "epoch": epoch})
    except ValueError:
        raise RecipeError(
            f"SOURCE_DATE_EPOCH={epoch}: expected seconds since 1970, later than 1980"
        ) from None
    return recipe.model_copy(update={"image": image})


def _require_arch(source: RecipeFile, arch: Arch) -> None:
    board = source.recipe.board
    if board is not None and (board.arch != arch.name or arch not in source.recipe.archs):
        raise RecipeError(
            f"the board {board.name} is {board.arch}; the image is for {arch.name}",
            hint=f"the recipe is for {', '.join(item.name for item in source.recipe.archs)}",
        )
