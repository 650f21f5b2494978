"""A vendor's kernel, as a package and as files: what is read, and mistakes, each in one line."""

from __future__ import annotations

import gzip
import struct
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb, vendor_kernel
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.errors import ArchitectureError, ArchiveError, EdgeimgError
from edgeimg.lock.model import KernelKind

from tests.samples import Member, ar, deb_bytes, member, module, tar

VERSION = "6.6.52-lts"
MODULES = f"lib/modules/{VERSION}"
PACKAGE = "vendor/linux.deb"
FILES = "vendor/kernel"


def image(arch: Arch = ARM64, version: str = VERSION) -> bytes:
    """What a kernel with an EFI stub begins with, and what it says of itself."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    banner = f"\0Linux version {version} (vendor@example) #1\0".encode()
    return head + b"PE\0\0" + struct.pack("<H", arch.pe_machine) + bytes(300) + banner


def bz_image(version: str) -> bytes:
    """The x86 kernel, whose banner is packed: its header says where its version is."""
    data = bytearray(
        image(X86_64, "0").ljust(0x400, b"\0").replace(b"Linux version", b"xxxxx xxxxxxx")
    )
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x150)
    data[0x350:0x3A0] = f"{version} (vendor@example)".encode().ljust(0x50, b"\0")
    return bytes(data)


def contents(**changes: bytes | None) -> dict[str, bytes]:
    """The files of a kernel package; `changes` by the last part of their names."""
    files: dict[str, bytes | None] = {
        f"boot/vmlinuz-{VERSION}": image(),
        f"boot/config-{VERSION}": b"CONFIG_EFI_STUB=y\n",
        f"{MODULES}/modules.builtin": b"kernel/fs/ext4/ext4.ko\n",
        f"{MODULES}/kernel/fs/erofs/erofs.ko": module(
            ARM64, {"depends": "", "vermagic": f"{VERSION} SMP"}, []
        ),
        f"usr/lib/linux-image-{VERSION}/board.dtb": b"tree",
    }
    names = {path.rpartition("/")[2].partition("-")[0]: path for path in files}
    files |= {names[name.replace("__", ".")]: data for name, data in changes.items()}
    return {path: data for path, data in files.items() if data is not None}


@pytest.fixture(params=["deb", "files"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Kernel]:
    """Reads these files as a package and as a directory."""

    def of(files: Mapping[str, bytes], arch: Arch = ARM64) -> Kernel:
        return reader(request.param, files, tmp_path, arch)

    return of


def reader(kind: KernelKind, files: Mapping[str, bytes], directory: Path, arch: Arch) -> Kernel:
    if kind == "deb":
        return read_package(
            deb(member(f"./{path}", data) for path, data in files.items()), directory, arch
        )
    place = directory / FILES
    for path, data in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(data)
    return vendor_kernel.read(
        vendor_kernel.find("files", FILES, place), arch, Store(directory / "cache")
    )


def deb(
    members: Iterable[Member], control: str = "Maintainer: A Vendor <a@vendor.example>\n"
) -> bytes:
    return deb_bytes(list(members), name="linux-image-lts", control=control)


def read_package(data: bytes, directory: Path, arch: Arch = ARM64) -> Kernel:
    place = directory / "linux.deb"
    place.write_bytes(data)
    return vendor_kernel.read(
        vendor_kernel.find("deb", PACKAGE, place), arch, Store(directory / "cache")
    )


def test_a_kernel_is_read(read: Callable[..., Kernel], tmp_path: Path) -> None:
    kernel = read(contents())
    assert (kernel.version, kernel.control) == (VERSION, "")
    assert kernel.image == image()
    assert kernel.options == {"EFI_STUB": "y"}
    assert kernel.builtin == {"ext4"}
    tree = kernel_deb.select(kernel, ["erofs", "ext4"], store=Store(tmp_path / "cache"))
    names = {path.rpartition("/")[2] for path, _ in tree.under(f"usr/{MODULES}")}
    assert {"erofs.ko", "modules.dep", "modules.alias", "modules.builtin"} <= names
    assert kernel.package.read(f"usr/lib/linux-image-{VERSION}/board.dtb") == b"tree"


def test_its_origin_is_told(tmp_path: Path) -> None:
    package = reader("deb", contents(), tmp_path, ARM64).vendor
    files = reader("files", contents(), tmp_path, ARM64).vendor
    assert package is not None
    assert files is not None
    assert (package.path, package.name, package.version) == (PACKAGE, "linux-image-lts", "1.0")
    assert package.supplier == "A Vendor <a@vendor.example>"
    assert (files.path, files.name, files.version) == (FILES, "linux", VERSION)


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    first = reader("files", contents(), tmp_path / "a", ARM64).sha256
    again = reader("files", contents(), tmp_path / "b", ARM64).sha256
    other = reader("files", contents(config=b"CONFIG_X=y\n"), tmp_path / "c", ARM64).sha256
    assert first == again != other


def test_a_packed_image_is_unpacked(read: Callable[..., Kernel]) -> None:
    assert read(contents(vmlinuz=gzip.compress(image()))).image == image()


def test_modules_may_be_below_usr(read: Callable[..., Kernel]) -> None:
    files = {
        path.replace("lib/modules", "usr/lib/modules"): data for path, data in contents().items()
    }
    assert set(read(files).paths) == {"erofs"}


def test_links_to_the_sources_are_left_out(tmp_path: Path) -> None:
    place = tmp_path / FILES / MODULES
    place.mkdir(parents=True)
    for name in ("build", "source"):
        (place / name).symlink_to("/home/vendor/linux")
    kernel = reader("files", contents(), tmp_path, ARM64)
    assert [path for path, _ in kernel.modules.items() if path.endswith(("build", "source"))] == []


def test_x86_says_its_version_in_the_header(read: Callable[..., Kernel]) -> None:
    assert read(contents(vmlinuz=bz_image(VERSION)), X86_64).version == VERSION
    with pytest.raises(ArchiveError, match=r"is Linux 6\.6\.1, its modules are for 6\.6\.52-lts"):
        read(contents(vmlinuz=bz_image("6.6.1")), X86_64)


NO_STUB = "/boot/vmlinuz-6.6.52-lts is no EFI program: it has no EFI stub"


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"vmlinuz": image(ARM)}, ArchitectureError, "lts is for arm, the image is for arm64"),
        ({"vmlinuz": image().replace(b"\x64\xaa", b"\x64P")}, ArchitectureError, "0x5064"),
        ({"vmlinuz": image()[2:]}, ArchiveError, NO_STUB),
        ({"vmlinuz": image()[:0x42]}, ArchiveError, NO_STUB),
        ({"vmlinuz": b"MZ"}, ArchiveError, NO_STUB),
        ({"vmlinuz": b""}, ArchiveError, NO_STUB),
        ({"vmlinuz": gzip.compress(b"\x7fELF")}, ArchiveError, NO_STUB),
        ({"vmlinuz": gzip.compress(image())[:-9]}, ArchiveError, "vmlinuz"),
        ({"vmlinuz": gzip.compress(bytes(257 << 20), 1)}, ArchiveError, "vmlinuz"),
        (
            {"vmlinuz": image(version="6.6.51-lts")},
            ArchiveError,
            "is Linux 6.6.51-lts, its modules are for 6.6.52-lts",
        ),
        ({"vmlinuz": None}, ArchiveError, "no file /boot/vmlinuz-6.6.52-lts"),
        ({"modules__builtin": None}, ArchiveError, "holds no /usr/lib/modules/.*/modules.builtin"),
    ],
    ids=lambda value: "" if isinstance(value, dict | type) else value[:40],
)  # fmt: skip
def test_each_mistake_is_one_line(
    read: Callable[..., Kernel],
    changes: dict[str, bytes | None],
    kind: type[EdgeimgError],
    says: str,
) -> None:
    with pytest.raises(kind, match=says) as caught:
        read(contents(**changes))
    assert caught.value.message.startswith(("vendor/linux.deb", "vendor/kernel"))
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.exit_code in (7, 8)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"lib/modules/6.6.1/modules.builtin": b""}, "2 kernels, expected one: 6.6.1, 6.6.52-lts$"),
        ({"lib/modules/README": b""}, "2 kernels, expected one: 6.6.52-lts, README$"),
    ],
)
def test_one_kernel_is_expected(
    read: Callable[..., Kernel], more: dict[str, bytes], says: str
) -> None:
    with pytest.raises(ArchiveError, match=says):
        read(contents() | more)


def test_a_kernel_is_expected(read: Callable[..., Kernel]) -> None:
    with pytest.raises(ArchiveError, match="holds modules of 0 kernels, expected one"):
        read({"README": b""})


def test_another_image_is_named(read: Callable[..., Kernel]) -> None:
    files = contents(vmlinuz=None) | {"boot/vmlinuz-6.6.1": image()}
    with pytest.raises(
        ArchiveError, match=r"no file /boot/vmlinuz-.*: it has /boot/vmlinuz-6\.6\.1$"
    ):
        read(files)


def test_names_of_strangers_stay_on_one_line(read: Callable[..., Kernel]) -> None:
    names = [f"boot/vmlinuz-{number}\n\x1b[31m" for number in range(9)]
    with pytest.raises(ArchiveError) as caught:
        read(contents(vmlinuz=None) | dict.fromkeys(names, b""))
    assert caught.value.message.isprintable()
    assert caught.value.message.count("vmlinuz") == 4
    with pytest.raises(ArchiveError) as caught:
        read(contents(vmlinuz=bz_image("6.6\n\x1b[31m")), X86_64)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("name", "most"), [("vmlinuz", 256), ("config", 16)])
def test_what_is_too_large_is_refused(tmp_path: Path, name: str, most: int) -> None:
    reader("files", contents(), tmp_path, ARM64)
    with (tmp_path / FILES / f"boot/{name}-{VERSION}").open("r+b") as large:
        large.truncate((most << 20) + 1)
    with pytest.raises(ArchiveError, match=f"is larger than {most} MiB"):
        reader("files", {}, tmp_path, ARM64)


def test_a_malformed_configuration_is_no_defect(read: Callable[..., Kernel]) -> None:
    config = b"=y\nCONFIG_=y\nCONFIG_A\n# CONFIG_B=y\nCONFIG_EFI=y\n"
    assert read(contents(config=config)).options == {"EFI": "y"}
    with pytest.raises(ArchiveError, match="is not UTF-8 text"):
        assert read(contents(config=b"\xff=y")).options


def test_a_version_is_one_word(read: Callable[..., Kernel]) -> None:
    with pytest.raises(ArchiveError, match=r"'6\.6 x' is no version of Linux"):
        read({"lib/modules/6.6 x/modules.builtin": b""})


def test_a_module_of_another_kernel_is_refused(read: Callable[..., Kernel], tmp_path: Path) -> None:
    other = module(ARM64, {"depends": "", "vermagic": "6.6.51-lts SMP"}, [])
    kernel = read(contents(erofs__ko=other))
    with pytest.raises(ArchiveError, match=r"erofs is built for Linux 6\.6\.51-lts, not 6\.6\.52"):
        kernel_deb.select(kernel, ["erofs"], store=Store(tmp_path / "cache"))


def test_a_package_of_another_architecture_is_refused(tmp_path: Path) -> None:
    def of(debian: str) -> bytes:
        control = f"Package: linux\nVersion: 1\nArchitecture: {debian}\n".encode()
        parts = (tar([member("./control", control)]), tar(sound()))
        names = ("debian-binary", "control.tar", "data.tar")
        return ar(dict(zip(names, (b"2.0\n", *parts), strict=True)))

    assert read_package(of("arm64"), tmp_path).version == VERSION
    assert read_package(of("all"), tmp_path).version == VERSION
    with pytest.raises(ArchitectureError, match="is a package for amd64, the image is for arm64"):
        read_package(of("amd64"), tmp_path)
    with pytest.raises(ArchitectureError, match="is for arm64, the image is for x86-64") as caught:
        read_package(of("all"), tmp_path, X86_64)
    assert "[arch.arm64.kernel]" in (caught.value.hint or "")


X = f"./{MODULES}/kernel/x.ko"


def sound() -> list[Member]:
    return [member(f"./{path}", data) for path, data in contents().items()]


@pytest.mark.parametrize(
    ("hostile", "says"),
    [
        (member("../../etc/cron.d/x", b"x"), "leaves its tree"),
        (member("./boot/../../x", b"x"), "leaves its tree"),
        (member(X, type=tarfile.SYMTYPE, link="/etc/shadow"), "is a link to '/etc/shadow'"),
        (member(X, type=tarfile.LNKTYPE, link="/etc/shadow"), "'/etc/shadow' is absolute"),
        (member(X, type=tarfile.CHRTYPE), "x.ko"),
    ],
    ids=["climbs", "climbs later", "link", "hard link", "device"],
)  # fmt: skip
def test_a_hostile_package_is_refused(tmp_path: Path, hostile: Member, says: str) -> None:
    assert read_package(deb(sound()), tmp_path).version == VERSION
    before = {path for path in tmp_path.parent.rglob("*") if tmp_path not in path.parents}
    with pytest.raises(ArchiveError, match=says):
        read_package(deb([*sound(), hostile]), tmp_path)
    after = {path for path in tmp_path.parent.rglob("*") if tmp_path not in path.parents}
    assert after == before


def test_an_image_that_is_a_link_is_refused(tmp_path: Path) -> None:
    link = member(f"./boot/vmlinuz-{VERSION}", type=tarfile.SYMTYPE, link="/boot/vmlinuz")
    members = [one for one in sound() if "vmlinuz" not in one[0].name]
    with pytest.raises(ArchiveError, match="no file /boot/vmlinuz"):
        read_package(deb([*members, link]), tmp_path)
    (tmp_path / FILES / "boot").mkdir(parents=True)
    (tmp_path / FILES / f"boot/vmlinuz-{VERSION}").symlink_to("/etc/hostname")
    with pytest.raises(ArchiveError, match="no file /boot/vmlinuz"):
        reader("files", contents(vmlinuz=None), tmp_path, ARM64)


@pytest.mark.parametrize("cut", [0, 1, 100, -100])
def test_a_damaged_package_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(ArchiveError) as caught:
        read_package(deb(sound())[:cut], tmp_path)
    assert len(caught.value.message.splitlines()) == 1
