"""Public probes of real gateways and mini-PCs: what the default image drives, and what it lacks.

The modules are those of modules.json, without the dependencies of modules that drive none of the
machines; the integration test has all of the kernel.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.hardware import lines
from edgeimg.hardware.coverage import Coverage, Row
from edgeimg.recipe.model import Recipe

from tests.hardware_modules import PROBES, probes, title
from tests.samples import make_deb
from tests.unit.hardware.test_hardware import Images

WIFI = ("iwlwifi", "iwlmvm", "iwldvm")
SMBUS = ("i2c_i801",)
NETWORK = {
    # machine: the network cards in order
    "protectli": ["igc"] * 4,
    "ipc227g": ["dwmac_intel"] * 3,
    "uno127": ["igb"] * 2,
    "upsehl": ["r8169"] * 2,
    "apu6": ["igb"] * 4,
    "congasa5": ["igb"] * 2,
    "nuc1220": ["igc"] * 2,
    "futro": ["r8169"],
    "beelink": ["r8169"],
    "wyse5070": ["r8169"],
    "zotac": ["r8169"] * 2,
    "dh670": ["igb"] * 2,
    "k800": ["igc"] * 3,
    "cwwk": ["igc"] * 4,
    "a1sai": ["igb"] * 4,
    "lex": ["r8169"],
    "nuc5": ["r8169"],
    "t620": ["r8169"],
    "brix": ["r8169"],
    "pd10ehi": ["igb"] * 2,
    "ktgm45": ["e1000e"] * 3,
}
STORAGE = {
    # machine: SATA, NVMe, SD and eMMC controllers in order
    "protectli": ["ahci"],
    "ipc227g": ["nvme"],
    "uno127": ["ahci", "sdhci_pci"],
    "upsehl": ["ahci", "sdhci_pci"],
    "apu6": ["ahci", "sdhci_pci"],
    "congasa5": ["ahci", "sdhci_pci", "sdhci_pci"],
    "nuc1220": ["nvme"],
    "futro": ["ahci"],
    "beelink": ["ahci", "nvme"],
    "wyse5070": ["ahci", "sdhci_pci"],
    "zotac": ["ahci"],
    "dh670": ["ahci", "sdhci_pci"],
    "k800": ["ahci"],
    "cwwk": ["sdhci_pci", "nvme"],
    "a1sai": ["ahci", "ahci"],
    "lex": ["ata_piix"],
    "nuc5": ["ahci"],
    "t620": ["ahci"],
    "brix": ["ahci"],
    "pd10ehi": ["ahci"],
    "ktgm45": ["ata_piix", "ata_piix", "ata_generic"],
}
GAPS = {
    # machine: devices whose driver the default image lacks, and the modules of the printed lines
    "apu6": {"00:18.4": ("fam15h_power",), "05:00.0": ("ath10k_pci",)},
    "beelink": {"02:00.0": WIFI},
    "k800": {"07:00.0": WIFI},
    "ktgm45": {"03:00.0": ("firewire_ohci",), "05:00.0": WIFI},
    "nuc1220": {"00:0d.2": ("thunderbolt",), "00:14.3": WIFI},
    "t620": {"00:18.4": ("fam15h_power",), "02:00.0": ("bcma",)},
    "zotac": {"04:00.0": WIFI},
}  # fmt: skip
DEPENDENCIES = {"apu6": {"00:08.0": ("ccp",)}, "brix": {"01:00.0": ("rtsx_pci",)}}
"""Gaps of the extract only: an image has these modules because others of the default list, which
drive no device of these machines, depend on them.
"""
FIRMWARE = {"r8169", "xhci_pci_renesas"}
"""Drivers of the default image that ask for firmware, which it has none of."""
UNPACKAGED = {"xhci_pci_renesas"}
"""No package of Debian has its firmware, so no line can be printed for it."""
UNDRIVEN = {
    # Serial ports and AMD's bridges need no module, and Linux has no driver for Atom's QuickAssist.
    "k800": "00:16.3",
    "a1sai": "00:0b.0",
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("kernels"))


def coverage(name: str, images: Images) -> Coverage:
    return images.of(probes()[name], X86_64)


def of_class(found: Coverage, *classes: str) -> list[Row]:
    return [row for row in found.rows if re.search(rf"({'|'.join(classes)})", row.device.modalias)]


def slot(row: Row) -> str:
    return row.device.place.rpartition("/")[2].removeprefix("0000:")


def test_twenty_makers_and_each_probe_has_its_expectations() -> None:
    assert probes().keys() == NETWORK.keys() == STORAGE.keys()
    makers = {title(name).partition(" ")[0] for name in probes()}
    assert len(makers) >= 20


@pytest.mark.parametrize("name", sorted(NETWORK))
def test_a_probe_is_read_whole_and_as_the_kernel_writes_it(name: str) -> None:
    text = (PROBES / f"{name}.txt").read_text().splitlines()
    comments, devices = text[:2], text[2:]
    assert re.fullmatch(r"# \S+ [^:]+: PCI ids of hw-probe [0-9A-F]{10}, as .*", comments[0])
    ids = r"v0000X{4}d0000X{4}sv0000X{4}sd0000X{4}bcX{2}scX{2}iX{2}".replace("X", "[0-9A-F]")
    path = r"/sys/bus/pci/devices/0000:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/modalias:pci:"
    assert all(re.fullmatch(path + ids, line) for line in devices)
    machine = probes()[name]
    assert not machine.unread
    assert len(machine.devices) == len(devices) == len(set(devices))
    assert not any("bc06sc04" in device.modalias for device in machine.devices)


@pytest.mark.parametrize("name", sorted(NETWORK))
def test_network_and_storage_have_a_driver(name: str, images: Images) -> None:
    found = coverage(name, images)
    cards, disks = of_class(found, "bc02sc00"), of_class(found, "bc01", "bc08sc05")
    assert [row.image[0] for row in cards] == NETWORK[name]
    assert len(disks) == len(STORAGE[name])
    for row, driver in zip(disks, STORAGE[name], strict=True):
        assert driver in row.image
    for row in (*cards, *disks):
        assert row.state == ("firmware missing" if row.image[0] == "r8169" else "ok")


@pytest.mark.parametrize("name", sorted(NETWORK))
def test_the_gaps_are_these_and_no_others(name: str, images: Images) -> None:
    found = coverage(name, images)
    missing = {slot(row): row.wanted for row in found.rows if row.state == "driver missing"}
    assert missing == GAPS.get(name, {}) | DEPENDENCIES.get(name, {})
    firmware = {row.image[-1] for row in found.rows if row.state == "firmware missing"}
    assert firmware <= FIRMWARE


@pytest.mark.parametrize("name", sorted(NETWORK))
def test_the_printed_lines_close_the_gaps(name: str, images: Images, tmp_path: Path) -> None:
    found = coverage(name, images)
    recipe = Recipe.model_validate(tomllib.loads("\n".join(lines.recipe_lines(found))))
    files = {
        f"usr/lib/firmware/{file.replace('*', 'x')}": b"firmware"
        for row in found.gaps for one in row.firmware for file in one.files
    }  # fmt: skip
    packages = (make_deb(tmp_path, files, name="firmware-all"),) if files else ()
    closed = images.of(probes()[name], X86_64, recipe, packages)
    assert {row.state for row in closed.gaps} <= {"firmware missing"}
    assert {one.module for row in closed.gaps for one in row.firmware} <= UNPACKAGED


@pytest.mark.parametrize("name", sorted(NETWORK))
def test_the_watchdogs_parent_has_a_driver(name: str, images: Images) -> None:
    """iTCO_wdt and sp5100_tco come with the SMBus or the ISA bridge of the chip set."""
    found = coverage(name, images)
    buses = [row for row in of_class(found, "bc0Csc05") if row.image]
    assert buses or name == "k800"  # its excerpt has none
    amd = {"i2c_piix4", "sp5100_tco"}
    assert all(row.image == SMBUS or set(row.image) == amd for row in buses)
    assert all(row.state == "ok" for row in buses)


@pytest.mark.parametrize("name", sorted(UNDRIVEN))
def test_devices_that_no_module_drives(name: str, images: Images) -> None:
    (row,) = [one for one in coverage(name, images).rows if slot(one) == UNDRIVEN[name]]
    assert (row.state, row.debian) == ("no driver", ())


def test_sensor_hubs_are_no_gap(images: Images) -> None:
    for name in ("ipc227g", "pd10ehi"):
        (row,) = [one for one in coverage(name, images).rows if slot(one) == "00:1d.0"]
        assert (row.state, row.wanted) == ("left out", ("intel_ish_ipc",))
