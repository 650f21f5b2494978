"""Hardware coverage: descriptions of machines, matches, gaps, and the lines that close them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ALIASES, ARCHITECTURES, Arch, find_arch
from edgeimg.cache.store import Store
from edgeimg.compose import firmware, kernel_deb, patterns, rootfs
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.compose.module_files import normal_alias
from edgeimg.errors import MachineError
from edgeimg.hardware import aliases, drivers, known, lines, reading
from edgeimg.hardware.aliases import Aliases
from edgeimg.hardware.coverage import Coverage, Row, cover
from edgeimg.hardware.machine import Machine
from edgeimg.recipe.model import Recipe
from edgeimg.sources.deb import Deb
from edgeimg.tree import Tree
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hardware_modules import DATA, FILE, machines
from tests.samples import make_deb
from tests.shell_files import ROOT
from tests.unit.compose.test_kernel_deb import make_kernel

EXTRACT = json.loads(FILE.read_text())
SCRIPT = ROOT / "overlays/base/usr/lib/edgeimg/hardware"
LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
REST = "d*dc*dsc*dp*ic*isc*ip*in*"
CASES = {
    # machine: architecture, devices with a gap in the default image
    "apu2": ("x86-64", {"00:08.0": "driver missing", "04:00.0": "driver missing"}),
    "nuc": ("x86-64", {"00:14.3": "driver missing"}),
    "n5105": ("x86-64", {"0000:03:00.0": "driver missing", "1-10:1.0": "driver missing"}),
    "onlogic": ("x86-64", {}),
    "siemens": ("x86-64", {}),
    "baytrail": ("x86-64", {"0000:01:00.0": "firmware missing"}),
    "rpi4": ("arm64", {"mmc1:0001:1": "driver missing"}),
    "imx8": ("arm64", {}),
    "imx6": ("arm", {}),
    "thinclient": ("x86-64", {"": "driver missing"}),
}


class Images:
    """Kernels with the extract's modules, and roots of recipes with them."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, Store(path / "cache")
        self.kernel: Callable[[Arch], Kernel] = cache(self._kernel)

    def _kernel(self, arch: Arch) -> Kernel:
        (self.path / arch.name).mkdir()
        return make_kernel(self.path / arch.name, arch, EXTRACT[arch.name])

    def cover(
        self, name: str, recipe: Recipe | None = None, debs: tuple[Deb, ...] = ()
    ) -> Coverage:
        return self.of(machines()[name], find_arch(CASES[name][0]), recipe, debs)

    def of(
        self, machine: Machine, arch: Arch, recipe: Recipe | None = None, debs: tuple[Deb, ...] = ()
    ) -> Coverage:
        kernel, recipe = self.kernel(arch), recipe or Recipe()
        tree = rootfs.root_modules(recipe, kernel, self.store)
        tree = tree.merge(firmware.select(recipe.firmware, debs, kernel).files)
        unneeded = (*patterns.excluded_modules(), *known.unneeded())
        return cover(
            machine,
            drivers.of_tree(tree, kernel.version),
            drivers.of_kernel(kernel, self.store),
            excluded=kernel_deb.match(kernel, unneeded, strict=False),
            image="gateway",
            arch=arch.name,
        )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("kernels"))


def row(found: Coverage, place: str) -> Row:
    return next(one for one in found.rows if one.device.place.endswith(place))


def test_every_machine_is_tested() -> None:
    assert CASES.keys() == machines().keys()


@pytest.mark.parametrize("name", CASES)
def test_the_gaps_of_a_machine(name: str, images: Images) -> None:
    found = images.cover(name)
    expected = CASES[name][1]
    if name == "thinclient":  # its lines have no places
        assert [one.state for one in found.rows] == [
            "firmware missing", "driver missing", "ok", "left out", "driver missing", "no driver",
        ]  # fmt: skip
        return
    assert {one.device.place.rpartition("/")[2]: one.state for one in found.gaps} == expected
    assert not found.machine.unread


@pytest.mark.parametrize("name", CASES)
def test_the_printed_lines_close_the_gaps(name: str, images: Images, tmp_path: Path) -> None:
    found = images.cover(name)
    text = "\n".join(lines.recipe_lines(found))
    recipe = Recipe.model_validate(tomllib.loads(text))
    assert bool(found.gaps) == bool(recipe.kernel.modules or recipe.firmware.modules)
    asked = [a for one in found.gaps for a in one.firmware if one.state in lines.GAPS]
    files = {
        f"usr/lib/firmware/{file.replace('*', 'x')}": b"firmware" for a in asked for file in a.files
    }
    packages = (make_deb(tmp_path, files, name="firmware-all"),) if files else ()
    assert {known.package(file) for a in asked for file in a.files} <= set(recipe.firmware.packages)
    assert images.cover(name, recipe, packages).gaps == ()


def test_what_a_gateway_does_not_need_is_no_gap_but_named(images: Images) -> None:
    found = images.cover("nuc")
    assert row(found, "00:02.0").state == "left out"
    assert row(found, "00:02.0").debian == ("i915",)
    assert any(line.startswith("# ") and '"i915"' in line for line in lines.recipe_lines(found))


def test_a_module_of_the_kernel_image_is_a_driver(images: Images) -> None:
    described = reading.parse(b"00:03.0 0200: 1af4:1041\n\tKernel driver in use: virtio\n", "x")
    kernel = images.kernel(find_arch("x86-64"))
    root = drivers.of_tree(Tree(), kernel.version)
    found = cover(
        described, root, drivers.of_kernel(kernel, images.store), excluded=(), image="", arch=""
    )
    assert (found.rows[0].state, found.rows[0].builtin) == ("ok", "virtio")


def test_a_driver_loads_others_by_name(images: Images) -> None:
    found = images.cover("n5105", Recipe.model_validate({"kernel": {"modules": ["iwlwifi"]}}))
    wifi = row(found, "0000:03:00.0")
    assert (wifi.state, wifi.wanted) == ("driver missing", ("iwlmvm", "iwldvm"))


def test_bluetooth_asks_for_the_firmware_of_its_maker_only(images: Images) -> None:
    found = images.cover("n5105")
    assert [one.module for one in row(found, "1-10:1.0").firmware] == ["btintel"]
    # cfg80211's list of countries is no firmware of the card.
    assert EXTRACT["x86-64"]["net/wireless/cfg80211"]["firmware"]
    assert [one.module for one in row(found, "0000:03:00.0").firmware] == ["iwlwifi"]


def test_some_firmware_of_a_driver_is_enough_and_counted(images: Images, tmp_path: Path) -> None:
    made = make_deb(tmp_path, {"usr/lib/firmware/rtl_nic/rtl8105e-1.fw.xz": b"x"})
    recipe = Recipe.model_validate({"firmware": {"packages": ["fw"], "modules": ["r8169"]}})
    found = row(images.cover("baytrail", recipe, (made,)), "0000:01:00.0")
    assert found.state == "ok"
    assert found.firmware[0].present == ("rtl_nic/rtl8105e-1.fw",)
    assert len(found.firmware[0].missing) == 11


def test_devices_of_few_known_fields_are_unclear(images: Images) -> None:
    found = images.cover("nuc")
    assert row(found, "001:002").state == "unclear"
    assert row(found, "001:003").debian == ("ftdi_sio",)


# -- matching ----------------------------------------------------------------------------------


def libc_fnmatch(pattern: str, name: str) -> bool:
    return ctypes.CDLL(None).fnmatch(pattern.encode(), name.encode(), 0) == 0


def test_matches_are_those_of_the_c_library() -> None:
    """kmod calls its fnmatch(3), with `-` as `_`."""
    pairs = [
        (alias, path) for found in EXTRACT.values() for path, module in found.items()
        for alias in module["alias"]
    ]  # fmt: skip
    devices = [one.modalias for machine in machines().values() for one in machine.devices]
    full = [alias for alias in devices if "*" not in alias]
    assert len(full) > 30
    matcher, count = Aliases(pairs), 0
    for device in full:
        wanted = [
            path for alias, path in pairs
            if libc_fnmatch(normal_alias(alias), normal_alias(device))
        ]  # fmt: skip
        assert matcher.modules(device) == tuple(dict.fromkeys(wanted)), device
        count += len(wanted)
    assert count > 60


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["*", "?", "a", "B", "0", "-", "_", "/", "[aB]", "[!a]", "[^0-5]"])),
    st.text("aB0-_/7", max_size=6),
)
def test_any_pattern_matches_as_in_the_c_library(parts: list[str], name: str) -> None:
    pattern = "".join(["of:", *parts])
    matcher = Aliases([(pattern, "x")])
    expected = libc_fnmatch(normal_alias(pattern), normal_alias(f"of:{name}"))
    assert bool(matcher.modules(f"of:{name}")) == expected


def test_dashes_are_underscores_but_not_in_brackets() -> None:
    matcher = Aliases([("platform:a-b", "x"), ("platform:c[0-9]d", "y")])
    assert matcher.modules("platform:a_b") == ("x",)
    assert matcher.modules("platform:c5d") == ("y",)


@pytest.mark.parametrize(
    ("alias", "device", "fits"),
    [
        ("pci:v00008086d00001533sv*sd*bc*sc*i*", "pci:v00008086d00001533sv*sd*bc02sc00i*", True),
        ("pci:v00008086d00001534sv*sd*bc*sc*i*", "pci:v00008086d00001533sv*sd*bc02sc00i*", False),
        ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00001022d00007801sv*sd*bc01sc06i*", True),
        ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00001022d00007801sv*sd*bc01sc08i*", False),
        (f"usb:v0403p6001{REST}", f"usb:v0403p6001{REST}", True),
        ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", f"usb:v0403p6001{REST}", False),
    ],
)  # fmt: skip
def test_unknown_fields(alias: str, device: str, fits: bool) -> None:
    """They fit anything, but something that is known has to be in the alias."""
    assert bool(Aliases([(alias, "x")]).modules(device)) == fits


def test_modules_alias_is_read_as_depmod_writes_it() -> None:
    text = "# Aliases extracted\nalias pci:v1 a\nalias platform:Fixed MDIO bus fixed_phy\n"
    assert aliases.parse(text) == [("pci:v1", "a"), ("platform:Fixed MDIO bus", "fixed_phy")]


# -- formats -----------------------------------------------------------------------------------


def devices(text: str) -> list[tuple[str, str]]:
    return [(one.place, one.modalias) for one in reading.parse(text.encode(), "x").devices]


def test_lspci_gives_class_subsystem_interface_and_drivers() -> None:
    found = reading.parse(
        b"01:00.0 Ethernet controller [0200]: Intel [x] I210 [8086:157b] (rev 03) (prog-if 0a [])\n"
        b"\tSubsystem: Intel Corporation Device [8086:00ff]\n"
        b"\tKernel driver in use: igb-x\n\tKernel modules: igb, other\n",
        "x",
    ).devices[0]
    assert found.modalias == "pci:v00008086d0000157Bsv00008086sd000000FFbc02sc00i0A"
    assert found.modules == ("igb_x", "igb", "other")
    assert found.title == "Intel [x] I210"


def test_lsusb_v_gives_the_interfaces() -> None:
    (first, second) = [one for one in machines()["onlogic"].devices if one.bus == "usb"]
    assert first.modalias == "usb:v2C7Cp0125d0318dcEFdsc02dp01icFFisc00ip00in02"
    assert second.modalias == "usb:v2C7Cp0125d0318dcEFdsc02dp01icFFiscFFipFFin04"
    assert second.place == "001:004 interface 4"


@pytest.mark.parametrize(
    "fields",
    [
        "    bAlternateSetting 0\n    bInterfaceProtocol 0\n",  # without a number
        "    bInterfaceNumber 08\n    bAlternateSetting 0\n    bInterfaceProtocol 0\n",
    ],
)
def test_odd_fields_of_lsusb_end_in_no_traceback(fields: str) -> None:
    text = f"Bus 001 Device 004: ID 2c7c:0125 Quectel\nDevice Descriptor:\n{fields}"
    ((place, modalias),) = devices(text)
    assert place.startswith("001:004")
    assert modalias.startswith("usb:v2C7Cp0125d")


def test_lines_between_the_fields_of_lsusb_are_known() -> None:
    text = b"\nBus 001 Device 004: ID 2c7c:0125 Quectel\nNegotiated speed: High Speed (480Mbps)\n"
    assert reading.parse(text, "x").unread == ()


def test_a_mount_is_no_node_of_a_device_tree() -> None:
    text = b"/dev/sda1 swap\n/soc@0/mmc@1 fsl,usdhc\n/proc/device-tree/leds gpio-leds\n"
    found = reading.parse(text, "x")
    assert found.unread == (1,)
    assert [one.place for one in found.devices] == ["/soc@0/mmc@1", "/leds"]


@pytest.mark.parametrize(
    "alias", ["usb:v*p0001d*dc*dsc*dp*ic*isc*ip*in*", "pci:v*d*sv*sd*bc*sc*i*"]
)
def test_a_pattern_is_no_modalias(alias: str) -> None:
    good = "platform:x"
    for line in (alias, f"MODALIAS={alias}", f"/sys/bus/x/devices/y/modalias:{alias}"):
        found = reading.parse(f"{line}\n{good}\n".encode(), "x")
        assert [one.modalias for one in found.devices] == [good]
        assert found.unread == (1,)


def test_modalias_lines_of_every_kind() -> None:
    wanted = "pci:v00008086d00001533sv0000sd0000bc02sc00i00"
    place = "0000:01:00.0"
    assert devices(wanted) == [("", wanted)]
    assert devices(f"MODALIAS={wanted}\r\n") == [("", wanted)]
    assert devices(f"/sys/bus/pci/devices/{place}/modalias:{wanted}") == [(place, wanted)]
    assert devices("/sys/bus/mdio/devices/a bus:0/modalias:of:NaT(null)Cb,c:d") == [
        ("a bus:0", "of:NaT(null)Cb,c:d")
    ]


def test_compatible_of_the_board_and_of_nodes() -> None:
    found = machines()["imx8"]
    assert found.compatible == ("fsl,imx8mm-evk", "fsl,imx8mm")
    assert found.devices[0].modalias == "of:N*T*Cfsl,imx8mm-fecCfsl,imx8mq-fecCfsl,imx6sx-fec"
    assert found.devices[1].place == "/soc@0/bus@30800000/mmc@30b40000"


def test_lines_of_no_format_are_numbered() -> None:
    found = reading.parse(b"pci:v1\n\nhello there\n# a comment\n\tindented\nfoo: bar\n", "x")
    assert found.unread == (3, 5, 6)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no device"),
        (b"hello\n", "no device"),
        (bytes(range(256)) * 40, "no device"),
        (b"00:1f.2 SATA controller: Intel Corporation 8 Series\n", "has no ids"),
        (b"edgeimg-hardware 2\n", "another version"),
        (b"pci:" + b"x" * reading.LINE, "line 1 is longer"),
        (
            b"".join(b"of:%04d" % n + b"x" * 4089 + b"\n" for n in range(129)),
            "more than 524288 char",
        ),
        (b"".join(b"pci:v%d\n" % n for n in range(reading.DEVICES + 1)), "more than 2048 devices"),
    ],
)
def test_descriptions_that_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MachineError, match=reason):
        reading.parse(data, "box.txt")


def test_the_bounds_are_the_last_that_is_taken() -> None:
    line = b"pci:" + b"x" * (reading.LINE - 4)
    assert reading.parse(line, "x").devices
    long = b"".join(b"of:%04d" % n + b"x" * 4089 + b"\n" for n in range(128))
    assert len(reading.parse(long, "x").devices) == 128
    many = b"".join(b"pci:v%d\n" % number for number in range(reading.DEVICES))
    assert len(reading.parse(many, "x").devices) == reading.DEVICES


def test_files_that_are_not_read(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"#" * (reading.BYTES + 1))
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("big", "larger than 8 MiB"),
        ("pipe", "not a regular"),
        ("gone", "No such"),
    ):
        with pytest.raises(MachineError, match=reason):
            reading.read(tmp_path / name)
    big.write_bytes(b"pci:v1\n".ljust(reading.BYTES, b"#"))
    assert len(reading.read(big).devices) == 1


def test_no_text_of_a_machine_moves_the_cursor_or_leaves_a_comment(images: Images) -> None:
    hostile = (
        '/sys/devices/\x1b[2J\u202e]"/modalias:usb:v8087p0029d0001dcE0dsc01dp01icE0isc01ip01in00\n'
    )
    described = reading.parse(hostile.encode(), "x")
    kernel = images.kernel(find_arch("x86-64"))
    root = drivers.of_tree(Tree(), kernel.version)
    found = cover(
        described, root, drivers.of_kernel(kernel, images.store), excluded=(), image="", arch=""
    )
    text = "\n".join(lines.recipe_lines(found))
    assert not re.search(r"[^\x20-\x7e\n]", text)
    assert tomllib.loads(text)["kernel"]["modules"] == ["btusb"]
    assert "\x1b" not in described.devices[0].place


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_no_bytes_make_anything_but_a_machine_or_an_error(data: bytes) -> None:
    try:
        found = reading.parse(data, "x")
    except MachineError:
        return
    assert isinstance(found, Machine)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_no_damaged_description_is_a_traceback(data: Any) -> None:
    text = data.draw(st.sampled_from(sorted(DATA.glob("*.txt")))).read_bytes()
    start = data.draw(st.integers(0, len(text)))
    damaged = text[:start] + data.draw(st.binary(max_size=8)) + text[start + 3 :]
    test_no_bytes_make_anything_but_a_machine_or_an_error.hypothesis.inner_test(damaged)  # type: ignore[attr-defined]


# -- the gateway's own description -------------------------------------------------------------


def test_the_gateway_describes_its_machine(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": "MemTotal:        3975168 kB\n",
        "proc/device-tree/model": "Board Rev 1.4\0",
        "proc/device-tree/compatible": "maker,board\0maker,soc\0",
        "sys/class/dmi/id/sys_vendor": "Maker \\n Ltd.  \n",
        "sys/class/dmi/id/product_name": "Box\n",
        "sys/class/dmi/id/product_serial": "SECRET\n",
        "sys/block/mmcblk0/size": "8192\n",
        "sys/block/mmcblk0/queue/logical_block_size": "512\n",
        "sys/block/mmcblk0/device/type": "MMC\n",
        "sys/block/loop0/size": "1\n",
        "sys/devices/pci0/01.0/modalias": "pci:v00008086d00001533sv0sd0bc02sc00i00\n",
        "sys/devices/a bus/modalias": "platform:Fixed MDIO bus\n",
        "sys/devices/empty/modalias": "",
        "etc/os-release": 'IMAGE_ID="gateway"\nIMAGE_VERSION="0.1.0"\n',
        "sys/class/tty/console/active": "tty0 ttyS1\n",
        "sys/class/watchdog/watchdog0/timeout": "15\n",
        "sys/class/watchdog/watchdog0/identity": "Broadcom BCM2835 Watchdog timer\n",
    }
    loader = tmp_path / f"sys/firmware/efi/efivars/LoaderFirmwareInfo-{LOADER_GUID}"
    loader.parent.mkdir(parents=True)
    loader.write_bytes(bytes(4) + "Das U-Boot 8230.4096\0".encode("utf-16-le"))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for path, target in {
        "sys/devices/pci0/01.0/driver": "../../../bus/pci/drivers/igb",
        "sys/bus/pci/drivers/igb/module": "../../../../module/igb",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(target)
    done = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "SECRET" not in done.stdout
    found = reading.parse(done.stdout.encode(), "x")
    assert not found.unread
    assert ALIASES[found.arch] in ARCHITECTURES
    assert found.title == r"Maker \n Ltd. Box Board Rev 1.4"
    assert found.compatible == ("maker,board", "maker,soc")
    assert ("disk", "mmcblk0 4194304 512") in found.facts
    assert {
        ("memory", "3975168 kB"),
        ("image", "gateway 0.1.0"),
        ("loader", "Das U-Boot 8230.4096"),
        ("console", "tty0 ttyS1"),
        ("watchdog", "15 s, Broadcom BCM2835 Watchdog timer"),
    } <= set(found.facts)
    assert {(one.place, one.modalias, one.modules) for one in found.devices} == {
        ("pci0/01.0", "pci:v00008086d00001533sv0sd0bc02sc00i00", ("igb",)),
        ("a_bus", "platform:Fixed MDIO bus", ()),
    }
