"""Firmware: what modules ask for, out of packages, with the links that lead there."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from edgeimg.compose import firmware
from edgeimg.compose.firmware import Selection
from edgeimg.errors import ArchiveError, RecipeError
from edgeimg.pack import microcode
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Firmware
from edgeimg.resolve.requests import digest, image_requests
from edgeimg.tree import Kind
from pydantic import ValidationError

from tests.samples import deb_bytes, make_deb, member, read_deb
from tests.unit.compose.test_kernel_deb import make_kernel

MODULES = {
    "net/r8169": {"depends": "phy", "firmware": ["rtl_nic/a.fw", "rtl_nic/gone.fw"]},
    "net/phy": {"depends": "", "firmware": "phy.bin"},
    "net/iwlwifi": {"depends": "", "firmware": ["iwlwifi-cc-a0-77.ucode", "iwlwifi-x-5.ucode"]},
    "net/brcmfmac": {"depends": "", "firmware": "brcm/brcmfmac*-sdio.*.bin"},
    "net/other": {"depends": ""},
}
FILES = [
    "rtl_nic/a.fw", "rtl_nic/b.fw", "phy.bin.xz", "iwlwifi-cc-a0-72.ucode", "unasked",
    "iwlwifi-cc-a0-9.ucode", "iwlwifi-cc-a0-80.ucode", "brcm/brcmfmac1-sdio.box.bin",
    "cypress/real.bin", "brcm/brcmfmac1-pcie.bin",
]  # fmt: skip
LINKS = {
    "brcm/brcmfmac2-sdio.x.bin": "../vendor/second.bin",
    "vendor": "cypress",
    "cypress/second.bin": "real.bin",
    "dangling-sdio": "nothing",
}


def select(tmp_path: Path, **wanted: tuple[str, ...]) -> Selection:
    base = "./usr/lib/firmware"
    members = [member(f"{base}/{name}", b"x") for name in FILES]
    members += [
        member(f"{base}/{name}", type=tarfile.SYMTYPE, link=target)
        for name, target in LINKS.items()
    ]
    members.append(member("./usr/share/doc/firmware/copyright", b"no firmware"))
    for name in ("firmware", "kernel"):
        (tmp_path / name).mkdir(exist_ok=True)
    deb = read_deb(deb_bytes(members, name="firmware-test"), tmp_path / "firmware")
    kernel = make_kernel(tmp_path / "kernel", modules=MODULES)
    return firmware.select(Firmware(packages=("firmware-test",), **wanted), [deb], kernel)


def names(selection: Selection) -> set[str]:
    return {
        path.removeprefix("usr/lib/firmware/")
        for path, node in selection.files.items()
        if node.kind is not Kind.DIRECTORY
    }


def test_modules_bring_what_they_and_their_dependencies_ask_for(tmp_path: Path) -> None:
    found = select(tmp_path, modules=("r8169",))
    assert names(found) == {"rtl_nic/a.fw", "phy.bin.xz"}
    assert found.missing == {"r8169": ("rtl_nic/gone.fw",)}


def test_an_older_version_of_iwlwifi_is_taken_as_the_driver_does(tmp_path: Path) -> None:
    found = select(tmp_path, modules=("iwlwifi",))
    assert names(found) == {"iwlwifi-cc-a0-72.ucode"}
    assert found.missing == {"iwlwifi": ("iwlwifi-x-5.ucode",)}


def test_globs_of_modules_and_links_through_directories(tmp_path: Path) -> None:
    found = select(tmp_path, modules=("brcmfmac",))
    assert names(found) == {
        "brcm/brcmfmac1-sdio.box.bin", "brcm/brcmfmac2-sdio.x.bin", "vendor",
        "cypress/second.bin", "cypress/real.bin",
    }  # fmt: skip
    tree = found.files
    assert tree.read("usr/lib/firmware/brcm/brcmfmac2-sdio.x.bin") == b"x"


def test_files_by_glob(tmp_path: Path) -> None:
    assert names(select(tmp_path, files=("rtl_nic/*",))) == {"rtl_nic/a.fw", "rtl_nic/b.fw"}
    with pytest.raises(RecipeError, match=r"firmware.files: 'rtl/\*' fits no file of firmware-t"):
        select(tmp_path, files=("rtl/*",))


def test_packages_alone_bring_all_their_firmware_and_nothing_else(tmp_path: Path) -> None:
    assert names(select(tmp_path)) == {*FILES, *LINKS}


def test_a_module_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"firmware.modules: 'r8168' fits no module"):
        select(tmp_path, modules=("r8168",))


def test_modules_and_files_come_from_packages() -> None:
    with pytest.raises(ValidationError, match="name the packages"):
        Firmware(modules=("r8169",))


def test_firmware_is_a_group_of_the_lock_with_its_component() -> None:
    plain = Recipe.model_validate({})
    recipe = Recipe.model_validate({"firmware": {"packages": ["firmware-realtek"]}})
    arch = recipe.archs[0]
    request = image_requests(recipe, arch)["firmware"]
    assert request.names == ("firmware-realtek",)
    assert request.pins.components == ("non-free-firmware",)
    assert "firmware" not in image_requests(plain, arch)
    assert digest(recipe) != digest(plain)
    assert not image_requests(recipe, arch)["root"].pins.components


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of a newc archive, read as the kernel's buffer-format.rst says."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = -(-(at + 110 + length) // 4) * 4
        if name == "TRAILER!!!":
            return found
        if mode & 0o170000 == 0o100000:
            found[name] = archive[start : start + size]
        at = -(-(start + size) // 4) * 4


def test_microcode_is_two_files_that_the_kernel_finds(tmp_path: Path) -> None:
    files = {
        "usr/lib/firmware/intel-ucode/06-0f-06": b"second" * 9,
        "usr/lib/firmware/intel-ucode/06-0f-02": b"first" * 9,
        "usr/lib/firmware/amd-ucode/microcode_amd.bin": b"amd",
        "usr/lib/firmware/amd/other.sbin": b"no microcode",
    }
    made = microcode.archive(make_deb(tmp_path, files).tree)
    assert unpacked(made) == {
        "kernel/x86/microcode/GenuineIntel.bin": b"first" * 9 + b"second" * 9,
        "kernel/x86/microcode/AuthenticAMD.bin": b"amd",
    }
    del files["usr/lib/firmware/amd-ucode/microcode_amd.bin"]
    with pytest.raises(ArchiveError, match="hold no usr/lib/firmware/amd-ucode"):
        microcode.archive(make_deb(tmp_path, files).tree)


def test_microcode_is_of_x86_64_and_off_by_default() -> None:
    wanted = Recipe.model_validate({"firmware": {"microcode": True}})
    groups = {arch.name: "microcode" in image_requests(wanted, arch) for arch in wanted.archs}
    assert groups == {"x86-64": True, "arm64": False, "arm": False}
    assert not any("microcode" in image_requests(Recipe(), arch) for arch in wanted.archs)
