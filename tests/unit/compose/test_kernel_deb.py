"""Kernel modules: which are chosen, what they bring along, and modprobe's files."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb, kmod_index, modinfo, module_files, patterns
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.errors import ArchiveError, RecipeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.samples import make_deb, module

VERSION = "6.12.1-test"
BASE = f"usr/lib/modules/{VERSION}"

MODULES: dict[str, dict[str, str | list[str]]] = {
    "fs/ext4/ext4": {
        "depends": "jbd2,mbcache",
        "softdep": "pre: crypto-crc32c",
        "alias": ["fs-ext4", "ext3"],
    },
    "fs/jbd2/jbd2": {"depends": ""},
    "fs/mbcache": {"depends": ""},
    "crypto/crc32c-generic": {"depends": "", "alias": ["crc32c", "crypto-crc32c"]},
    "drivers/net/tun": {"depends": "", "alias": ["char-major-10-200", "devname:net/tun"]},
    "drivers/net/usb/usbnet": {"depends": "mii"},
    "drivers/net/usb/asix": {"depends": "usbnet", "alias": "usb:v0B95p172Ad*"},
    "drivers/net/mii": {"depends": ""},
    "drivers/usb/snd-gadget": {"depends": "snd"},
    "sound/core/snd": {"depends": ""},
}


def make_kernel(tmp_path: Path, arch: Arch = X86_64, modules: object = MODULES) -> Kernel:
    assert isinstance(modules, dict)
    files = {
        f"{BASE}/kernel/{path}.ko.xz": lzma.compress(module(arch, facts, [f"{path[-3:]}_symbol"]))
        for path, facts in modules.items()
    }
    files |= {
        f"boot/vmlinuz-{VERSION}": b"kernel",
        f"boot/config-{VERSION}": b"CONFIG_NET=y\n",
        f"{BASE}/modules.builtin": b"kernel/drivers/virtio/virtio.ko\n",
        f"{BASE}/modules.builtin.modinfo": b"virtio.alias=of:N*Cvirtio-mmio\0virtio.license=GPL\0",
        f"{BASE}/modules.order": "".join(f"kernel/{path}.ko\n" for path in modules).encode(),
    }
    return kernel_deb.from_deb(make_deb(tmp_path, files, name="linux-image-test"))


def names(tree: object) -> set[str]:
    return {kernel_deb.name_of(path) for path, _ in tree.items() if path.endswith(".ko")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("arch", [X86_64, ARM64, ARM])
def test_the_kernel_of_a_package(tmp_path: Path, arch: Arch) -> None:
    kernel = make_kernel(tmp_path, arch)
    assert kernel.version == VERSION
    assert kernel.builtin == {"virtio"}
    assert kernel.paths["crc32c_generic"] == "crypto/crc32c-generic"


def test_a_package_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="0 kernels"):
        kernel_deb.from_deb(make_deb(tmp_path, {"usr/bin/x": b""}))
    with pytest.raises(ArchiveError, match="vmlinuz"):
        kernel_deb.from_deb(make_deb(tmp_path, {f"{BASE}/modules.order": b""}))


@pytest.mark.parametrize("arch", [X86_64, ARM])
def test_a_name_brings_dependencies_and_soft_ones_by_alias(tmp_path: Path, arch: Arch) -> None:
    tree = kernel_deb.select(make_kernel(tmp_path, arch), ["ext4"], store=Store(tmp_path / "c"))
    assert names(tree) == {"ext4", "jbd2", "mbcache", "crc32c_generic"}
    content = tree[f"{BASE}/kernel/fs/ext4/ext4.ko"].read()
    assert modinfo.parse(content, "ext4").depends == ("jbd2", "mbcache")


def test_globs_run_over_paths(tmp_path: Path) -> None:
    tree = kernel_deb.select(make_kernel(tmp_path), ["drivers/net/*"], store=Store(tmp_path / "c"))
    assert names(tree) == {"tun", "usbnet", "asix", "mii"}


def test_what_is_excluded_takes_along_what_needs_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "c")
    tree = kernel_deb.select(make_kernel(tmp_path), ["drivers/*"], ["sound/*"], store=store)
    assert names(tree) == {"tun", "usbnet", "asix", "mii"}


def test_built_in_names_are_fine(tmp_path: Path) -> None:
    tree = kernel_deb.select(make_kernel(tmp_path), ["virtio", "tun"], store=Store(tmp_path / "c"))
    assert names(tree) == {"tun"}


def test_unknown_names_are_an_error_with_a_near_match(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="usbnett") as caught:
        kernel_deb.select(make_kernel(tmp_path), ["usbnett"], store=Store(tmp_path / "c"))
    assert "usbnet" in (caught.value.hint or "")


def test_a_missing_dependency_is_an_error(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path, modules={"fs/a": {"depends": "gone"}})
    with pytest.raises(ArchiveError, match="a needs gone"):
        kernel_deb.select(kernel, ["a"], store=Store(tmp_path / "c"))


def test_selection_is_the_same_whatever_the_order_of_patterns(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path)
    wanted = ["asix", "ext4", "tun"]
    one = kernel_deb.select(kernel, wanted, store=Store(tmp_path / "one"))
    other = kernel_deb.select(kernel, wanted[::-1], store=Store(tmp_path / "two"))
    assert one.digest() == other.digest()


def test_module_files(tmp_path: Path) -> None:
    tree = kernel_deb.select(make_kernel(tmp_path), ["*"], store=Store(tmp_path / "c"))
    dep = dict(line.split(":") for line in tree.read(f"{BASE}/modules.dep").decode().splitlines())
    assert dep["kernel/drivers/net/usb/asix.ko"].split() == [
        "kernel/drivers/net/usb/usbnet.ko",
        "kernel/drivers/net/mii.ko",
    ]
    assert dep["kernel/fs/mbcache.ko"] == ""
    assert b"alias fs-ext4 ext4\n" in tree.read(f"{BASE}/modules.alias")
    assert tree.read(f"{BASE}/modules.softdep") == b"softdep ext4 pre: crypto-crc32c\n"
    assert tree.read(f"{BASE}/modules.devname") == b"tun net/tun c10:200\n"
    assert lookup(tree.read(f"{BASE}/modules.alias.bin"), "fs_ext4") == ["ext4"]
    assert lookup(tree.read(f"{BASE}/modules.symbols.bin"), "symbol:tun_symbol") == ["tun"]
    assert lookup(tree.read(f"{BASE}/modules.builtin.bin"), "virtio") == [""]
    aliases = tree.read(f"{BASE}/modules.builtin.alias.bin")
    assert lookup(aliases, "of:N*Cvirtio_mmio") == ["virtio"]


def test_dependencies_come_after_what_needs_them() -> None:
    facts = {"a": "b,c", "b": "d", "c": "d", "d": ""}
    modules = [
        module_files.Module(
            name=name,
            path=f"{name}.ko",
            info=modinfo.parse(module(X86_64, {"depends": depends}), name),
        )
        for name, depends in facts.items()
    ]
    line = module_files.indices(modules, [], {})["modules.dep"].decode().splitlines()[0]
    order = line.split(": ")[1].split()
    assert sorted(order) == ["b.ko", "c.ko", "d.ko"]
    assert order[-1] == "d.ko"


def test_aliases_keep_their_hyphens_within_brackets() -> None:
    assert module_files.normal_alias("a-b[0-9]*c-d") == "a_b[0-9]*c_d"


def test_damaged_modules_are_refused() -> None:
    whole = module(X86_64, {"depends": "x"})
    with pytest.raises(ArchiveError):
        modinfo.parse(b"\x7fELF" + bytes(100), "x.ko")
    with pytest.raises(ArchiveError):
        modinfo.parse(whole[:60], "x.ko")
    with pytest.raises(ArchiveError):
        modinfo.decompress(lzma.compress(whole)[:-20], "x.ko.xz")


def test_the_default_patterns_are_globs_or_names() -> None:
    for pattern in (*patterns.default_modules(), *patterns.excluded_modules()):
        assert pattern.strip("/") == pattern
        assert "/" in pattern
        assert not pattern.endswith(".ko")


KEYS = st.text(alphabet="abc_:*[]", min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYS, st.lists(KEYS, min_size=1, max_size=3, unique=True), max_size=20))
def test_the_index_gives_back_what_went_in(entries: dict[str, list[str]]) -> None:
    flat = [
        (key, value, rank) for key, values in entries.items() for rank, value in enumerate(values)
    ]
    data = kmod_index.write(flat)
    for key, values in entries.items():
        assert lookup(data, key) == values
    for missing in ("zz", "a" * 9):
        assert lookup(data, missing) == []


def lookup(data: bytes, key: str) -> list[str]:
    """Values of a key, read the way libkmod does."""
    magic, version, offset = struct.unpack_from(">III", data)
    assert (magic, version) == (0xB007F457, 0x00020001)
    rest = key.encode()
    while True:
        at = offset & 0x0FFFFFFF
        if offset & 0x80000000:
            end = data.index(b"\0", at)
            prefix, at = data[at:end], end + 1
            if not rest.startswith(prefix):
                return []
            rest = rest[len(prefix) :]
        children: dict[int, int] = {}
        if offset & 0x20000000:
            first, last = data[at], data[at + 1]
            table = struct.unpack_from(f">{last - first + 1}I", data, at + 2)
            children = {first + step: child for step, child in enumerate(table)}
            at += 2 + 4 * len(table)
        if not rest:
            return _values(data, at) if offset & 0x40000000 else []
        offset, rest = children.get(rest[0], 0), rest[1:]
        if not offset:
            return []


def _values(data: bytes, at: int) -> list[str]:
    (count,) = struct.unpack_from(">I", data, at)
    found, at = [], at + 4
    for _ in range(count):
        end = data.index(b"\0", at + 4)
        found.append((struct.unpack_from(">I", data, at)[0], data[at + 4 : end].decode()))
        at = end + 1
    return [value for _, value in sorted(found)]
