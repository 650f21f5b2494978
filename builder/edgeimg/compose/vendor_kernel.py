"""A vendor's kernel, which the project has as a Debian package or as files: read and judged.

Files are laid out as a kernel package unpacked: `boot/vmlinuz-VERSION`, `boot/config-VERSION`,
`usr/lib/modules/VERSION` or `lib/modules/VERSION`. edgeimg makes the indexes of modprobe itself.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.cache.store import Store, sha256_file
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.compose.vendor import Vendor
from edgeimg.errors import ArchitectureError, ArchiveError
from edgeimg.lock.model import KernelKind, KernelPin
from edgeimg.sources import deb
from edgeimg.streams import decoding
from edgeimg.streams.limits import UNTRUSTED
from edgeimg.tree import Kind, Node, Tree
from edgeimg.tree.overlay import from_directory

_IMAGE = replace(UNTRUSTED, bytes=256 << 20)
_LARGEST_CONFIG = 16 << 20
"""Bytes. Debian's has 0.3 MB."""
_SHOWN = 3
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~_-]{0,63}")
_BANNER = re.compile(rb"Linux version (\d[!-~]*) ")
_OWN_LINKS = ("build", "source")
"""Links to the kernel's sources, which `make modules_install` makes beside the modules."""
_HINT = "name the kernel of each architecture: '{arch}' in the path, or [arch.arm64.kernel]"


@dataclass(frozen=True, kw_only=True)
class VendorKernel:
    """A vendor's kernel as it is now in the project."""

    pin: KernelPin
    place: Path
    files: Tree = field(repr=False)
    """The directory; empty for a package."""


def find(kind: KernelKind, path: str, place: Path) -> VendorKernel:
    """The package or directory at `place`, which recipes call `path`. Raises ArchiveError."""
    files = from_directory(place, origin=path) if kind == "files" else Tree()
    sha256 = files.digest() if kind == "files" else sha256_file(place)
    return VendorKernel(
        pin=KernelPin(kind=kind, path=path, sha256=sha256), place=place, files=files
    )


def read(vendor: VendorKernel, arch: Arch, store: Store) -> Kernel:
    """The kernel, with its image unpacked.

    Raises ArchitectureError for one of another architecture; ArchiveError when it is damaged or
    hostile, has no EFI stub, or is not one kernel with the modules of its version.
    """
    path = vendor.pin.path
    if vendor.pin.kind == "files":
        return _kernel(_usr_merged(vendor.files), vendor.pin, arch)
    package = deb.read(vendor.place, vendor.pin.sha256, store=store, origin=path)
    named = package.control.get("Architecture", "")
    if named not in (arch.debian, "all"):
        raise ArchitectureError(
            f"{path} is a package for {named}, the image is for {arch.debian}", hint=_HINT
        )
    kernel = _kernel(_usr_merged(package.tree), vendor.pin, arch)
    maker = " ".join(package.control.get("Maintainer", "").split())
    facts = Vendor(path=path, name=package.name, version=package.version, supplier=maker)
    return replace(kernel, vendor=facts)


def _kernel(tree: Tree, pin: KernelPin, arch: Arch) -> Kernel:
    version = _version(tree, pin.path)
    name = f"boot/vmlinuz-{version}"
    node = tree.get(name)
    if node is None or node.kind is not Kind.FILE:
        others = [f"/{path}" for path, _ in tree.items() if path.startswith("boot/vmlinuz")]
        instead = f": it has {_listing(others)}" if others else ""
        raise ArchiveError(f"{pin.path} holds modules of {version} and no file /{name}{instead}")
    config = tree.get(f"boot/config-{version}")
    for one, most in ((node, _IMAGE.bytes), (config, _LARGEST_CONFIG)):
        if one and one.size > most:
            raise ArchiveError(
                f"{pin.path}: its image or its configuration is larger than {most >> 20} MiB"
            )
    return Kernel(
        version=version,
        image=_image(node, f"{pin.path}: /{name}", version, arch),
        config=config.content if config and config.kind is Kind.FILE else b"",
        modules=Tree(dict(_modules(tree, pin.path, version))),
        control="",
        sha256=pin.sha256,
        origin=pin.path,
        package=tree,
        vendor=Vendor(path=pin.path, name="linux", version=version, supplier=""),
    )


def _usr_merged(tree: Tree) -> Tree:
    """The tree with `lib` below `usr`, where the image has it."""
    return Tree(
        {f"usr/{path}" if path.startswith("lib/") else path: node for path, node in tree.items()}
    )


def _version(tree: Tree, label: str) -> str:
    start = "usr/lib/modules/"
    names = {
        path.removeprefix(start).partition("/")[0] for path, _ in tree.under("usr/lib/modules")
    }
    if len(names) != 1:
        raise ArchiveError(
            f"{label} holds modules of {len(names)} kernels, expected one"
            + (f": {_listing(sorted(names))}" if names else ""),
            hint="the modules are in usr/lib/modules/VERSION or lib/modules/VERSION",
        )
    (version,) = names
    if not _VERSION.fullmatch(version):
        raise ArchiveError(f"{label}: {version!r} is no version of Linux")
    return version


def _listing(names: Sequence[str]) -> str:
    """A few names of strangers, on one line."""
    return ", ".join(name if name.isprintable() else ascii(name) for name in names[:_SHOWN])


def _modules(tree: Tree, label: str, version: str) -> Iterator[tuple[str, Node]]:
    start = f"usr/lib/modules/{version}"
    for path, node in tree.under(start):
        if node.kind is Kind.SYMLINK:
            if path.removeprefix(f"{start}/") not in _OWN_LINKS:
                shown = _listing([f"/{path}"])
                raise ArchiveError(
                    f"{label}: {shown} is a link to {node.target!r}, expected a file"
                )
            continue
        yield path, node
    listing = tree.get(f"{start}/modules.builtin")
    if listing is None or listing.kind is not Kind.FILE:
        raise ArchiveError(
            f"{label} holds no /{start}/modules.builtin, the list of what is built in",
            hint="copy the directory that `make modules_install` writes; edgeimg makes "
            "modules.dep and the other indexes itself",
        )


def _image(node: Node, label: str, version: str, arch: Arch) -> bytes:
    """The kernel's EFI program, unpacked."""
    data = node.read()
    method = decoding.recognise(data)
    if method:  # arm64's own `make bindeb-pkg` packs it
        data = decoding.unpacked(data, label, method=method, limits=_IMAGE)
    machine = _machine(data)
    if machine is None:
        raise ArchiveError(
            f"{label} is no EFI program: it has no EFI stub",
            hint="build the kernel with CONFIG_EFI_STUB=y, and take Image, zImage or bzImage, "
            "not uImage or a FIT image",
        )
    if machine != arch.pe_machine:
        names = [other.name for other in ARCHITECTURES if other.pe_machine == machine]
        what = names[0] if names else f"machine {machine:#06x}"
        raise ArchitectureError(f"{label} is for {what}, the image is for {arch.name}", hint=_HINT)
    own = _listing([_release(data)])
    if own not in ("", version):
        raise ArchiveError(f"{label} is Linux {own}, its modules are for {version}")
    return data


def _machine(data: bytes) -> int | None:
    """The machine of a PE file (PE format, COFF file header); None for other files."""
    if data[:2] != b"MZ":
        return None
    try:
        (place,) = struct.unpack_from("<I", data, 0x3C)
        signature, machine = struct.unpack_from("<4sH", data, place)
    except struct.error:
        return None
    return int(machine) if signature == b"PE\0\0" else None


def _release(data: bytes) -> str:
    """What `uname -r` will say; empty where the image is packed and does not tell."""
    if data[0x202:0x206] == b"HdrS":  # x86 boot protocol, kernel_version
        (place,) = struct.unpack_from("<H", data, 0x20E)
        text = data[place + 0x200 :][:256].partition(b" ")[0]
    else:
        match = _BANNER.search(data)
        text = match[1] if match else b""
    return text.decode("ascii", "replace")
