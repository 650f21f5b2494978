"""The default recipe's roots, read back by the programs that will use them.

The judges are Debian's own, run out of the packages of this host's architecture: ldconfig, depmod
and modprobe (kmod), systemctl.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from edgeimg import fetch, process, tools, tree
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.build import overlays
from edgeimg.cache.store import Store
from edgeimg.check import elf
from edgeimg.compose import applets, dpkg_root, kernel_deb, ldcache, patterns, presets, rootfs
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.fetch.mirrors import from_host
from edgeimg.lock.model import Lock, Package
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.sources import deb
from edgeimg.sources.deb import Deb
from edgeimg.tree import Kind, Tree

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]
SOURCE = load(PROJECT / "recipes/gateway.toml")
RECIPE = SOURCE.recipe
each_arch = pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)

Debs = tuple[tuple[Package, Deb], ...]
Host = Callable[..., str]


class Inputs:
    """The locked packages of every architecture, unpacked on first use."""

    def __init__(self, store: Store, lock: Lock) -> None:
        self.store, self._lock = store, lock
        self.group = cache(self._group)
        self.root = cache(self._root)

    def _group(self, arch: Arch, name: str) -> Debs:
        wanted = self._lock.images[arch.name].groups[name]
        mirrors = from_host(os.environ)
        fetch.fetch(fetch.package_downloads(wanted, mirrors), self.store, offline=False)
        return tuple(
            (
                package,
                deb.read(
                    self.store.blob(package.sha256),
                    package.sha256,
                    store=self.store,
                    origin=f"package:{package.name}",
                ),
            )
            for package in wanted
        )

    def kernel(self, arch: Arch) -> Kernel:
        """The kernel of one architecture."""
        debs = [found for _, found in self.group(arch, "kernel")]
        (image,) = (d for d in debs if any(p.startswith("boot/vmlinuz") for p, _ in d.tree.items()))
        return kernel_deb.from_deb(image)

    def _root(self, arch: Arch) -> Tree:
        return self.compose(arch)

    def compose(self, arch: Arch, source: RecipeFile = SOURCE) -> Tree:
        """The root of one architecture, without the files of K3s itself."""
        recipe = source.recipe.for_arch(arch)
        debs, kernel = self.group(arch, "root"), self.kernel(arch)
        extra = [overlays.read(source, recipe)]
        return rootfs.compose(recipe, arch, debs, kernel, extra, self.store)


@pytest.fixture(scope="module")
def inputs(cache: Store, default_lock: Lock) -> Inputs:
    return Inputs(cache, default_lock)


@pytest.fixture(scope="module")
def host(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Runs a program of the image's packages for this host's architecture."""
    arch = tools.build_host()
    root = tmp_path_factory.mktemp("host")
    dpkg_root.merge([found for _, found in inputs.group(arch, "root")]).extract(root)
    libraries = root / f"usr/lib/{arch.triplet}"

    def run(name: str, *args: str | Path, path: str = "usr/bin") -> str:
        argv: list[str | Path] = [
            libraries / arch.loader.rpartition("/")[2],
            "--library-path",
            f"{libraries}:{libraries}/systemd",
            "--argv0",
            name,
            (root / path / name).resolve(),
            *map(str, args),
        ]
        return process.run(argv, timeout=120, name=name).decode()

    return run


@each_arch
def test_every_program_can_start(inputs: Inputs, arch: Arch) -> None:
    assert [str(finding) for finding in elf.check(inputs.root(arch), arch)] == []


@each_arch
def test_composing_twice_gives_the_same_tree_in_seconds(inputs: Inputs, arch: Arch) -> None:
    first = inputs.root(arch).digest()
    began = time.process_time()
    again = inputs.compose(arch)
    assert time.process_time() - began < 6
    assert again.digest() == first


@each_arch
def test_nothing_is_set_up_for_anybody(inputs: Inputs, arch: Arch) -> None:
    root = inputs.root(arch)
    assert root.read("etc/machine-id") == b""
    shadow = root.read("etc/shadow").decode().splitlines()
    assert {line.split(":")[1] for line in shadow} == {"!*"}
    assert not [path for path, _ in root.items() if "host_key" in path or path.endswith(".pem")]


@each_arch
def test_a_root_without_k3s_has_no_unit_that_waits_for_it(
    inputs: Inputs, arch: Arch, tmp_path: Path
) -> None:
    path = tmp_path / "recipes/plain.toml"
    path.parent.mkdir()
    path.write_text('include = ["edgeimg:gateway"]\n[k3s]\nsource = "none"\n')
    root, usual = inputs.compose(arch, load(path)), inputs.root(arch)
    words = re.compile(rb"^[^#].*(k3s|containerd|rancher)", re.I | re.M)

    def units(tree: Tree) -> list[str]:
        places = ("etc/systemd", "usr/lib/systemd/system", "usr/lib/systemd/system-preset")
        return [
            path
            for place in places
            for path, node in tree.under(place)
            if node.origin.startswith(("overlay:", "edgeimg"))
            and words.search(node.read() if node.kind is Kind.FILE else node.target.encode())
        ]

    assert {"usr/lib/systemd/system/k3s.service"} < set(units(usual))
    # They set KUBECONFIG.
    assert {path.rpartition("/")[2] for path in units(root)} == {
        "edgeimg-report.service", "edgeimg-shell.service",
    }  # fmt: skip
    assert not [path for path, _ in root.items() if re.search(r"rancher|containerd", path)]
    assert dict(root.items()).keys() - dict(usual.items()).keys() == {"usr/lib/edgeimg/unready"}
    assert [str(finding) for finding in elf.check(root, arch)] == []


@each_arch
def test_links_lead_somewhere(inputs: Inputs, arch: Arch) -> None:
    """Links within /usr lead to files of the image; those to /run, /var, /dev, … to the guest's."""
    root = inputs.root(arch)
    elsewhere = ("run", "var", "proc", "dev", "sys", "tmp", "usr/lib/k3s", "usr/local")
    dangling = [
        f"{path} -> {node.target}"
        for path, node in root.items()
        if node.kind is Kind.SYMLINK
        and (target := _target(root, path, node.target)) not in root
        and not target.startswith(elsewhere)
    ]
    assert dangling == []


def _target(root: Tree, path: str, target: str) -> str:
    parent = path.rpartition("/")[0]
    return root.resolve(target if target.startswith("/") else f"{parent}/{target}")


@each_arch
def test_ldconfig_reads_our_cache(inputs: Inputs, host: Host, arch: Arch, tmp_path: Path) -> None:
    """What ldconfig prints of our cache is what it prints of the one it makes itself."""
    root = inputs.root(arch)
    root.extract(tmp_path / "root")
    cache = tmp_path / "root/etc/ld.so.cache"
    shutil.copy(cache, tmp_path / "ours")
    ours = _listing(host("ldconfig", "-p", "-C", tmp_path / "ours", path="usr/sbin"))
    assert len(ours) > 40
    loader = arch.loader.rpartition("/")[2]
    assert all(f"=> /lib/{arch.triplet}/" in line or f"=> /lib/{loader}" in line for line in ours)
    if arch is not tools.build_host() or os.geteuid() != 0:
        return  # ldconfig knows the directories of its own architecture, and -r is chroot(2)
    host("ldconfig", "-r", tmp_path / "root", path="usr/sbin")
    theirs = _listing(host("ldconfig", "-p", "-C", cache, path="usr/sbin"))
    assert ours == theirs


def _listing(output: str) -> list[str]:
    return [line for line in output.splitlines() if "=>" in line]


@each_arch
def test_depmod_writes_the_same_module_files(
    inputs: Inputs, host: Host, arch: Arch, tmp_path: Path
) -> None:
    kernel = inputs.kernel(arch)
    wanted = ("ext4", "erofs", "dm-verity", "overlay", "wireguard", "drivers/net/usb/*", "tun")
    chosen = kernel_deb.select(kernel, wanted, store=inputs.store)
    with_link = chosen.with_nodes({"lib": tree.symlink("usr/lib")})
    for name in ("ours", "theirs"):
        with_link.extract(tmp_path / name)
    theirs = tmp_path / "theirs" / kernel.directory
    for path in (*theirs.glob("*.bin"), theirs / "modules.dep", theirs / "modules.softdep"):
        path.unlink()
    host("depmod", "-b", tmp_path / "theirs", kernel.version, path="usr/sbin")
    known = [
        sorted(
            host(
                "modprobe", "-C", "/dev/null", "-d", tmp_path / name, "-S", kernel.version, "-c",
                path="usr/sbin",
            ).splitlines()
        )
        for name in ("ours", "theirs")
    ]  # fmt: skip
    assert len(known[0]) > 500
    assert known[0] == known[1]
    assert _dependencies((theirs / "modules.dep").read_text()) == _dependencies(
        chosen.read(f"{kernel.directory}/modules.dep").decode()
    )
    shown = host(
        "modprobe", "-d", tmp_path / "ours", "-S", kernel.version, "--show-depends", "fs-ext4",
        path="usr/sbin",
    )  # fmt: skip
    loaded = [Path(line.split()[1]).stem for line in shown.splitlines() if "insmod" in line]
    assert loaded[-1] == "ext4"
    assert {"jbd2", "mbcache", "crc16", "crc32c_generic"} <= set(loaded)


def _dependencies(text: str) -> dict[str, set[str]]:
    lines = (line.split(":") for line in text.splitlines())
    return {path: set(needed.split()) for path, needed in lines}


@each_arch
def test_default_modules(inputs: Inputs, arch: Arch) -> None:
    """What a gateway needs is in the root, or built into the kernel; what it doesn't is not."""
    kernel = inputs.kernel(arch)
    modules = {
        kernel_deb.name_of(path) for path, _ in inputs.root(arch).items() if path.endswith(".ko")
    }
    needed = """
        ext4 erofs overlay vfat dm_verity dm_crypt zram loop virtio_blk virtio_net virtio_console
        nvme usb_storage uas sd_mod mmc_block ahci xhci_pci ehci_hcd e1000e igb r8169 usbnet
        cdc_acm ftdi_sio cp210x option qmi_wwan can can_raw vcan slcan i2c_dev spidev softdog
        bridge br_netfilter veth vxlan tun dummy macvlan ipvlan wireguard nf_tables nf_conntrack
        nf_nat nft_ct nft_masq nft_nat nft_redir nft_chain_nat xt_conntrack xt_MASQUERADE xt_comment
        xt_mark xt_addrtype xt_multiport xt_statistic iptable_nat iptable_filter ip6table_nat
        ip_set ip_set_hash_net ip_vs ip_vs_rr sch_fq_codel cls_bpf act_mirred crc32c_generic
        """
    absent = set(needed.split()) - modules - kernel.builtin
    missing = {name for name in absent if name in kernel.paths}
    assert missing == set()
    assert not {"snd", "drm", "ib_core", "videodev", "btrfs"} & modules
    assert kernel_deb.match(kernel, patterns.default_modules(), strict=False) >= {"ext4"}


def test_systemctl_enables_the_same_units(inputs: Inputs, host: Host, tmp_path: Path) -> None:
    start = "etc/systemd/system/"
    root = inputs.root(tools.build_host())
    bare = root.without(lambda path, _: path.startswith(start))
    bare.extract(tmp_path)
    host("systemctl", f"--root={tmp_path}", "preset-all")
    theirs = {
        str(path.relative_to(tmp_path)): str(path.readlink()).removeprefix("/usr")
        for path in (tmp_path / start).rglob("*")
        if path.is_symlink()
    }
    ours = {
        path: node.target.removeprefix("/usr")
        for path, node in presets.apply_presets(bare).under(start)
        if node.kind is Kind.SYMLINK
    }
    assert len(ours) > 10
    assert ours == theirs


def test_the_loader_finds_libraries_where_the_cache_says(inputs: Inputs) -> None:
    arch = tools.build_host()
    root = inputs.root(arch)
    for directory in ldcache.directories(root, arch):
        assert root[root.resolve(directory)].kind is Kind.DIRECTORY


@each_arch
def test_busybox_runs_as_every_program_that_nothing_else_provides(
    inputs: Inputs, arch: Arch
) -> None:
    root = inputs.root(arch)
    known, left = applets.applets(root.read("usr/bin/busybox")), applets.exclusions()
    assert {"ls", "vi", "ping", "awk", "nc", "tar", "init", "sh"} <= set(known)
    for name in known:
        present = [p for place in ("bin", "sbin") if (p := f"usr/{place}/{name}") in root]
        links = [path for path in present if root[path].target == "busybox"]
        expected = [] if name in left or present != links else [f"usr/bin/{name}"]
        assert links == expected and (present or name in left), name
    # systemd's, though busybox has a program of this name.
    assert root["usr/bin/poweroff"].target == "systemctl"
