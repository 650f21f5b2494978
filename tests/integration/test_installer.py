"""The installer for real: the stick with what it installs on a partition, the CD image, and the
kernel image for the network.
"""

from __future__ import annotations

import filecmp
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pefile
import pytest
from edgeimg.arch import X86_64
from edgeimg.build import debian_packages, pipeline, program
from edgeimg.build.options import BuildOptions
from edgeimg.check.findings import errors
from edgeimg.errors import ImageError, RecipeError
from edgeimg.image import blockmap, raw
from edgeimg.image.manifest import Manifest
from edgeimg.lock.file import read_lock
from edgeimg.pack import disk, fat, uki, verity
from edgeimg.progress import Silent
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui

from tests.integration.test_flash import run
from tests.unit.flash.test_flash import image

RULES = 'image = "images"\nfleet = "fleet.csv"\n[disk]\nonly_internal = true\n'
pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Stick:
    """A stick with one image, rules and a fleet."""

    folder: Path
    image: Path
    result: Any

    @property
    def raw(self) -> Path:
        return self.folder / "stick.raw"


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Stick:
    folder = tmp_path_factory.mktemp("stick")
    packed, _ = image(folder)
    (folder / "mine.toml").write_text(RULES)
    (folder / "site.csv").write_text("hostname,serial\nbox-1,S1\n")
    done = run(
        "installer", "--arch", X86_64.name, "--image", packed, "--rules", folder / "mine.toml",
        "--fleet", folder / "site.csv", "--output", folder / "stick.raw", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Stick(folder=folder, image=packed, result=json.loads(done.stdout))


def test_its_partition_holds_what_it_installs(stick: Stick, tiny: Any, tmp_path: Path) -> None:
    part = disk.read(stick.raw, toolbox=tiny.pack)["config"]
    place = f"images/{stick.image.name.removesuffix('.raw.zst')}"
    expected = {
        f"{place}/{stick.image.name}": stick.image,
        f"{place}/{blockmap.beside(stick.image).name}": blockmap.beside(stick.image),
        "install.toml": stick.folder / "mine.toml",
        "fleet.csv": stick.folder / "site.csv",
    }
    assert set(stick.result["files"]) == {*expected, "README.txt"}
    found = fat.extract_all(stick.raw, tmp_path, offset=part.start, toolbox=tiny.pack)
    assert set(found) == {"README.txt", *(f"installer/{name}" for name in stick.result["files"])}
    for name, file in expected.items():
        assert filecmp.cmp(found[f"installer/{name}"], file, shallow=False), name
    alone = tmp_path / "config.fat"
    with stick.raw.open("rb") as whole:
        whole.seek(part.start)
        alone.write_bytes(whole.read(part.size))
    tiny.pack.run("fsck.fat", "-n", str(alone), timeout=60)


def test_the_rest_is_the_image_that_was_built(stick: Stick, tiny: Any, tmp_path: Path) -> None:
    (packed,) = stick.folder.glob("installer_*/*.raw.zst")
    built = tmp_path / "built.raw"
    raw.unpack(packed, built)
    part = disk.read(stick.raw, toolbox=tiny.pack)["config"]
    with built.open("rb") as one, stick.raw.open("rb") as other:
        assert one.read(part.start) == other.read(part.start)
        for file in (one, other):
            file.seek(part.start + part.size)
        assert one.read() == other.read()
    target = tmp_path / "disk"
    with target.open("wb") as file:
        file.truncate(stick.raw.stat().st_size)
    done = run("flash", stick.raw, target, "--yes")
    assert done.returncode == 0, done.stderr
    assert filecmp.cmp(target, stick.raw, shallow=False)


def test_only_its_owner_reads_it(stick: Stick) -> None:
    assert stick.raw.stat().st_mode & 0o777 == 0o600
    assert blockmap.beside(stick.raw).stat().st_mode & 0o777 == 0o600


def test_the_image_passes_its_checks(cache: Any, tmp_path: Path) -> None:
    plan = program.plan_installer(program.recipe(), X86_64, BuildOptions(output=tmp_path))
    report = pipeline.check(plan, store=cache, ui=Ui(verbosity=-1))
    assert [str(finding) for finding in errors(report.findings)] == []


Contents = Mapping[str, Path]
Reader = Callable[[Path], Contents]
BOTH = pytest.mark.parametrize("ending", ["iso", "efi"])


def medium(stick: Stick, name: str) -> Path:
    """A CD image or a kernel image with the files of the stick, made once."""
    output = stick.folder / name
    if output.exists():
        return output
    done = run(
        "installer", "--arch", X86_64.name, "--image", stick.image, "--rules",
        stick.folder / "mine.toml", "--fleet", stick.folder / "site.csv", "--output", output,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def iso_tools(cache: Any) -> Toolbox:
    """xorriso, of the installer's lock."""
    lock = read_lock(program.recipe().lock_path)
    return debian_packages.host_tools(lock, "iso", cache, offline=False, progress=Silent())


@pytest.fixture
def contents(iso_tools: Toolbox, tmp_path: Path) -> Reader:
    """The files of an ISO 9660 file system, read by xorriso."""

    def read(path: Path) -> Contents:
        folder = tmp_path / f"{path.name}-contents"
        iso_tools.run(
            "xorriso", "-osirrox", "on", "-indev", str(path), "-extract", "/", str(folder),
            timeout=120,
        )  # fmt: skip
        files = (one for one in folder.rglob("*") if one.is_file())
        return {one.relative_to(folder).as_posix(): one for one in files}

    return read


def unwrapped(kernel: Path, output: Path) -> Path:
    """The ISO 9660 file system within a kernel image: the first archive of its initrd (cpio)."""
    with pefile.PE(str(kernel), fast_load=True) as pe:
        (initrd,) = (one for one in pe.sections if one.Name.startswith(b".initrd"))
        archive = initrd.get_data()
    assert archive[:6] == b"070701"
    name, size = int(archive[94:102], 16), int(archive[54:62], 16)
    assert archive[110 : 110 + name] == b"medium.iso\0"
    start = 110 + name + -(110 + name) % 4
    output.write_bytes(archive[start : start + size])
    return output


@BOTH
def test_a_medium_holds_the_system_and_what_it_installs(
    stick: Stick, ending: str, contents: Reader, tiny: Any, tmp_path: Path
) -> None:
    output = medium(stick, f"one.{ending}")
    assert output.stat().st_mode & 0o777 == 0o600
    file_system = output if ending == "iso" else unwrapped(output, tmp_path / "medium.iso")
    found = contents(file_system)
    (manifest,) = map(Manifest.read, stick.folder.glob("installer_*/*.manifest.json"))
    system = f"system/{manifest.root_hash}"
    verity.verify(
        found[f"{system}.root"], found[f"{system}.verity"], manifest.root_hash, toolbox=tiny.pack
    )
    rest = set(found) - {f"{system}.root", f"{system}.verity", "boot.catalog", "esp.fat"}
    assert rest == {f"installer/{name}" for name in stick.result["files"]}
    image = f"installer/images/{stick.image.name.removesuffix('.raw.zst')}/{stick.image.name}"
    assert filecmp.cmp(found[image], stick.image, shallow=False)


def test_a_cd_starts_the_kernel_image_of_the_stick(
    stick: Stick, iso_tools: Toolbox, tiny: Any, tmp_path: Path
) -> None:
    cd = medium(stick, "one.iso")
    said = iso_tools.run(
        "xorriso", "-indev", str(cd), "-report_el_torito", "plain", timeout=60
    ).decode()  # fmt: skip
    (image,) = (line.split() for line in said.splitlines() if line.startswith("El Torito boot img"))
    assert image[6] == "UEFI"
    # By the GPT, as firmware finds it on a stick; blocks of a CD have 2048 bytes.
    (esp,) = (
        part for part in disk.read(cd, toolbox=tiny.pack).partitions if part.type == disk.ESP_TYPE
    )
    assert esp.start == int(image[-1]) * 2048
    # A large one reaches to the end of the file system (ECMA-119, 8.4.8): it must lie before that.
    with cd.open("rb") as file:
        file.seek(16 * 2048 + 80)
        blocks = int.from_bytes(file.read(4), "little")
    assert esp.start + esp.size <= blocks * 2048
    fat.extract(
        cd, "EFI/BOOT/BOOTX64.EFI", tmp_path / "cd.efi", offset=esp.start, toolbox=tiny.pack
    )
    place = disk.read(stick.raw, toolbox=tiny.pack)["esp"].start
    (name,) = fat.names(stick.raw, "EFI/Linux", offset=place, toolbox=tiny.pack)
    fat.extract(
        stick.raw, f"EFI/Linux/{name}", tmp_path / "stick.efi", offset=place, toolbox=tiny.pack
    )
    assert filecmp.cmp(tmp_path / "cd.efi", tmp_path / "stick.efi", shallow=False)


def test_a_kernel_image_has_the_parts_of_the_stick(stick: Stick) -> None:
    facts = uki.read(medium(stick, "one.efi"))
    (manifest,) = map(Manifest.read, stick.folder.glob("installer_*/*.manifest.json"))
    assert facts.root_hash == manifest.root_hash
    assert facts.profiles == ()  # no factory reset
    assert facts.sizes[".linux"] == manifest.sizes["kernel"]
    assert facts.sizes[".initrd"] > manifest.sizes["initrd"] + manifest.sizes["root"]
    assert facts.sizes.get(".ucode") == manifest.sizes.get("microcode")


@BOTH
def test_equal_inputs_give_equal_media(stick: Stick, ending: str) -> None:
    one, other = medium(stick, f"one.{ending}"), medium(stick, f"other.{ending}")
    assert filecmp.cmp(one, other, shallow=False)


def test_an_output_of_another_kind_is_refused(stick: Stick) -> None:
    done = run("installer", "--output", stick.folder / "installer.qcow2")
    assert done.returncode == ImageError.exit_code, done.stderr
    assert "expected a name that ends in .raw, .raw.zst, .iso or .efi" in done.stderr
    assert not (stick.folder / "installer.qcow2").exists()
    done = run("installer", "--output", stick.folder / "console.iso", "--console", "COM1")
    assert done.returncode == RecipeError.exit_code, done.stderr
    assert "COM1: expected a console" in done.stderr
