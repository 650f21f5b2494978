"""The initrd: busybox, dmsetup, the modules that reach the disk, and `init`.

dmsetup in place of veritysetup: docs/adr/0002-initrd-dmsetup.md.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgeimg import tree
from edgeimg.arch import Arch
from edgeimg.compose import elf_facts
from edgeimg.errors import ArchiveError
from edgeimg.pack import cpio
from edgeimg.tools import Toolbox
from edgeimg.tree import Kind, Node, Tree

BUSYBOX = "usr/bin/busybox"
DMSETUP = "usr/sbin/dmsetup"
SCRIPT = Path(__file__).with_name("init")
"""What the kernel starts in it."""
LEVEL = 19
TIMEOUT = 300.0

APPLETS = (
    "cat", "chmod", "chroot", "cmp", "cp", "cut", "dd", "find", "grep", "losetup", "ls",
    "mkdir", "mkfifo", "modprobe", "mount", "mv", "readlink", "reboot", "rm", "rmdir", "sed", "sh",
    "sleep", "sort", "switch_root", "sync", "tr", "umount", "watchdog", "xargs", "xxd",
)  # fmt: skip
"""The busybox programs that `init` calls."""

MODULES = (
    "drivers/block/virtio_blk",
    "drivers/scsi/virtio_scsi",
    "drivers/virtio/virtio_mmio",
    "drivers/virtio/virtio_pci",
    "drivers/nvme/host/nvme",
    "drivers/ata/ahci",
    "drivers/ata/ahci_platform",
    "drivers/scsi/sd_mod",
    "drivers/mmc/core/mmc_block",
    "drivers/mmc/host/*",
    "drivers/usb/storage/usb-storage",
    "drivers/usb/storage/uas",
    "drivers/usb/host/xhci-pci",
    "drivers/usb/host/xhci-plat-hcd",
    "drivers/usb/host/ehci-pci",
    "drivers/usb/host/ehci-platform",
    "drivers/watchdog/bcm2835_wdt",
    "drivers/watchdog/dw_wdt",
    "drivers/watchdog/i6300esb",
    "drivers/watchdog/imx2_wdt",
    "drivers/watchdog/omap_wdt",
    "drivers/watchdog/sunxi_wdt",
    "drivers/md/dm-verity",
    "fs/erofs/erofs",
    "fs/overlayfs/overlay",
    "fs/ext4/ext4",
    "fs/fat/vfat",
    "fs/nls/nls_cp437",
    "fs/nls/nls_ascii",
    "crypto/crc32c_generic",
    "arch/*/crypto/sha2*",
    "arch/*/crypto/crc32*",
)
"""Which modules reach and read the root, as compose.kernel_deb.select takes them. A pattern that
one architecture does not have, or has built in, is nothing. `kernel.initrd` of a recipe adds more.
"""


def make(contents: Tree, output: Path, *, toolbox: Toolbox) -> None:
    """Write the initrd that `compose` made to `output`: a newc cpio archive, compressed with zstd.

    Equal trees give equal bytes. Raises ToolError.
    """
    # One thread, and a compressor pinned by the lock: the same bytes on every host.
    toolbox.run(
        "zstd", f"-{LEVEL}", "--quiet", "--single-thread", "--force", "-o", output,
        input=cpio.archive(contents), timeout=TIMEOUT,
    )  # fmt: skip


def compose(userland: Tree, modules: Tree, *, arch: Arch) -> Tree:
    """The initrd as a tree.

    `userland` holds the packages of the lock's `initrd` group; only what is needed is taken from
    it. `modules` is a selection of the kernel's modules with their indexes. Raises ArchiveError
    when the packages lack something.
    """
    nodes: dict[str, Node] = {
        "init": tree.file(SCRIPT.read_bytes(), mode=0o755),
        **{name: tree.directory() for name in ("dev", "proc", "sys", "run", "sysroot")},
        # Where the kernel looks for modprobe, where programs expect a shell, and where the
        # loader is named to be: all of them are below /usr.
        **{name: tree.symlink(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")},
        "usr/sbin/modprobe": tree.symlink("../bin/busybox"),
        **{f"usr/bin/{applet}": tree.symlink("busybox") for applet in APPLETS},
        **_programs(userland, arch),
        **{_below_usr(path): node for path, node in modules.items()},
    }
    return Tree({**_parents(nodes), **nodes})


def _programs(userland: Tree, arch: Arch) -> dict[str, Node]:
    """busybox, dmsetup and the libraries that dmsetup needs, at the paths it looks for them."""
    found = {BUSYBOX: _file(userland, BUSYBOX)}
    pending = [DMSETUP]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found[path] = _file(userland, path)
        interpreter, libraries = _needs(found[path])
        pending += [f"usr/lib/{arch.triplet}/{name}" for name in libraries]
        if interpreter:
            pending.append(_below_usr(interpreter.lstrip("/")))
    loader = f"usr/lib/{arch.triplet}/{PurePosixPath(arch.loader).name}"
    # Libraries name the loader among what they need; the ABI's path is enough.
    if loader in found:
        found[loader] = tree.symlink("/" + _below_usr(arch.loader.lstrip("/")))
    return {path: _as_roots(node) for path, node in found.items()}


def _file(userland: Tree, path: str) -> Node:
    for candidate in (path, path.removeprefix("usr/")):
        node = userland.get(userland.resolve(candidate))
        if node is not None and node.kind is Kind.FILE:
            return node
    raise ArchiveError(
        f"the initrd's packages hold no {path}",
        hint="run `edgeimg lock` to resolve the packages again",
    )


def _needs(node: Node) -> tuple[str | None, tuple[str, ...]]:
    """The interpreter and the libraries that an ELF file names."""
    facts = elf_facts.read(node)
    return (facts.interpreter, facts.needed) if facts else (None, ())


def _below_usr(path: str) -> str:
    return path if path.startswith("usr/") or path == "usr" else f"usr/{path}"


def _as_roots(node: Node) -> Node:
    """The node with mode 0755 and no set-id bits."""
    return tree.replace(node, mode=0o755) if node.kind is Kind.FILE else node


def _parents(nodes: dict[str, Node]) -> dict[str, Node]:
    parents = {
        str(parent) for path in nodes for parent in PurePosixPath(path).parents if parent.name
    }
    return {path: tree.directory() for path in parents}
