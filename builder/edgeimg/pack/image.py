"""Root tree → disk image: the order in which the parts of a gateway's disk are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors, key, require_room
from edgeimg.compose import kernel_deb
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.image.partitions import DiskPlan
from edgeimg.pack import boards, disk, erofs, esp, initrd, microcode, scratch, uki, verity
from edgeimg.pack.boards import Loader
from edgeimg.recipe.model import Recipe
from edgeimg.services.layout import CONTAINERS
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree

NAMESPACE = UUID("0b4f3a4e-8b57-5c4e-9d0c-2f6f8f2a7e11")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a disk image is made from; all of it decided, none of it written."""

    recipe: Recipe
    arch: Arch
    root: Tree
    kernel: Kernel
    initrd: Tree
    """The packages of the initrd, merged."""
    boot: Tree
    """systemd-boot and the UKI stub, as their package holds them."""
    loader: Loader | None = None
    """What a board needs besides."""
    microcode: Tree = field(default_factory=Tree)
    """The packages of the microcode, merged; empty without it."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A finished disk image and what is worth telling about it; sizes are bytes."""

    raw: Path
    parts: dict[str, Path]
    """What `raw` was made from, by partition name."""
    plan: DiskPlan
    root_hash: str
    cmdline: str
    sizes: dict[str, int]
    """Content of `root`, `verity`, `uki`, `initrd`, and of the kernel within the UKI."""


@dataclass(frozen=True, kw_only=True)
class Filesystems:
    """The files of an image that are cached by their content."""

    root: Path
    """The root's EROFS image."""
    initrd: Path


def make_filesystems(source: Source, *, store: Store, toolbox: Toolbox) -> Filesystems:
    """Pack the root and the initrd, or take them from the cache."""
    return Filesystems(
        root=make_root(source, store=store, toolbox=toolbox),
        initrd=make_initrd(source, store=store, toolbox=toolbox),
    )


def make_root(source: Source, *, store: Store, toolbox: Toolbox) -> Path:
    """The root's EROFS image, from the cache when an equal tree was packed before."""
    image = source.recipe.image
    digest = source.root.digest()
    name = key(
        "erofs", digest, image.compression, str(image.epoch), str(erofs.CLUSTER), toolbox.root.name
    )

    def make(result: Path) -> None:
        tar = result.with_name("root.tar")
        with disk_errors(tar), tar.open("wb") as output:
            source.root.write_tar(output, mtime=image.epoch, share=CONTAINERS)
        require_room(tar, tar.stat().st_size)
        erofs.make(
            tar,
            result,
            compression=image.compression,
            epoch=image.epoch,
            uuid=uuid5(NAMESPACE, digest),
            toolbox=toolbox,
        )
        tar.unlink()

    return store.derived(name, make)


def make_initrd(source: Source, *, store: Store, toolbox: Toolbox) -> Path:
    """The initrd, from the cache when its parts did not change."""
    modules = kernel_deb.select(
        source.kernel, (*initrd.MODULES, *source.recipe.kernel.initrd), store=store, strict=False
    )
    contents = initrd.compose(source.initrd, modules, arch=source.arch)
    name = key("initrd", contents.digest(), str(initrd.LEVEL), toolbox.root.name)

    def make(result: Path) -> None:
        initrd.make(contents, result, toolbox=toolbox)

    return store.derived(name, make)


def make_disk(source: Source, filesystems: Filesystems, work: Path, *, toolbox: Toolbox) -> Packed:
    """Assemble the disk image in the directory `work`.

    Raises BudgetError when something does not fit its partition, ToolError, HostError.
    """
    recipe, arch, image = source.recipe, source.arch, source.recipe.image
    tree = verity.make(filesystems.root, work / "root.verity", toolbox=toolbox)
    cmdline = uki.cmdline(arch, root_hash=tree.root_hash, extra=recipe.kernel.cmdline)
    kernel = scratch.write(source.kernel.image, work / "vmlinuz")
    boot = uki.Parts(
        kernel=kernel,
        initrd=filesystems.initrd,
        stub=_boot_file(source, f"linux{arch.efi}.efi.stub", work),
        addon=_boot_file(source, f"addon{arch.efi}.efi.stub", work),
        cmdline=cmdline,
        os_release=source.root.read("usr/lib/os-release"),
        uname=source.kernel.version,
        microcode=(
            scratch.write(microcode.archive(source.microcode), work / "microcode")
            if len(source.microcode)
            else None
        ),
    )
    unified = work / "uki.efi"
    uki.make(boot, unified, arch=arch, epoch=image.epoch, toolbox=toolbox)
    sizes = {"root-a": filesystems.root.stat().st_size, "root-a-verity": tree.path.stat().st_size}
    plan = disk.plan(recipe, arch, tree.root_hash, sizes)
    system, config = work / "esp.fat", work / "config.fat"
    raw_files, esp_files = _board_files(source, work, toolbox)
    esp.make(
        system,
        arch=arch,
        loader=_boot_file(source, f"systemd-boot{arch.efi}.efi", work),
        uki=unified,
        uki_name=esp.uki_name(image.id, image.version),
        size=plan["esp"].size,
        volume_id=disk.volume_id(image, arch, "esp"),
        epoch=image.epoch,
        more=esp_files,
        toolbox=toolbox,
    )
    esp.make_config(
        config,
        size=plan["config"].size,
        volume_id=disk.volume_id(image, arch, "config"),
        epoch=image.epoch,
        toolbox=toolbox,
    )
    contents = {
        "esp": system,
        "root-a": filesystems.root,
        "root-a-verity": tree.path,
        "config": config,
    }
    raw = work / "disk.raw"
    disk.write(plan, contents, raw, raw=raw_files, toolbox=toolbox)
    return Packed(
        raw=raw,
        parts=contents,
        plan=plan,
        root_hash=tree.root_hash,
        cmdline=cmdline,
        sizes={
            "root": sizes["root-a"],
            "verity": sizes["root-a-verity"],
            "uki": unified.stat().st_size,
            "kernel": kernel.stat().st_size,
            "initrd": filesystems.initrd.stat().st_size,
            **({"microcode": boot.microcode.stat().st_size} if boot.microcode else {}),
        },
    )


def _board_files(
    source: Source, work: Path, toolbox: Toolbox
) -> tuple[dict[int, Path], dict[str, Path]]:
    """A board's files: by their place on the disk, and by their path in the boot partition."""
    loader, arch = source.loader, source.arch
    if loader is None:
        return {}, {}
    raw = {at: scratch.write(node.content, work / f"raw-{at}") for at, node in loader.raw.items()}
    files = {
        path: scratch.write(node.content, work / f"esp-{number}")
        for number, (path, node) in enumerate(sorted(loader.esp.items()))
    }
    if loader.words:
        files[boards.ADDON] = work / "board.addon.efi"
        uki.addon(
            loader.words,
            stub=_boot_file(source, f"addon{arch.efi}.efi.stub", work),
            output=files[boards.ADDON],
            arch=arch,
            epoch=source.recipe.image.epoch,
            toolbox=toolbox,
        )
    return raw, files


def _boot_file(source: Source, name: str, work: Path) -> Path:
    node = source.boot[f"usr/lib/systemd/boot/efi/{name}"]
    return scratch.write(node.content, work / name)
