"""What a stick of the installer carries, and the rules that fit it."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.arch import ARM64, X86_64
from edgeimg.errors import BudgetError, ImageError, ProvisionError
from edgeimg.install import source, stick

NAME = "gateway_1.4.2_x86-64"
PLACE = f"images/{NAME}/{NAME}.raw.zst"
DISK = "[disk]\nonly_internal = true\n"


def release(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def rules(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text + DISK)
    return path


def test_an_image_comes_with_what_vouches_for_it(tmp_path: Path) -> None:
    names = (f"{NAME}.raw.zst", f"{NAME}.bmap", f"{NAME}.manifest.json")
    folder = release(tmp_path, *names, "SHA256SUMS", "SHA256SUMS.gpg", f"{NAME}.efi")
    found = stick.image_files([folder / names[0]])
    places = {f"images/{NAME}/{name}" for name in (*names, "SHA256SUMS", "SHA256SUMS.gpg")}
    assert set(found) == places
    assert all(path.read_text() == Path(place).name for place, path in found.items())


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = (release(tmp_path / name, f"{NAME}.raw.zst") for name in ("one", "other"))
    image = one / f"{NAME}.raw.zst"
    assert set(stick.image_files([image, image])) == {PLACE}
    with pytest.raises(ImageError, match="the same name"):
        stick.image_files([image, other / image.name])


def test_a_fleet_comes_with_its_tokens(tmp_path: Path) -> None:
    release(tmp_path, "site.csv", "site.token", "site.rollout", "all.toml", "site.xlsx")
    found = stick.fleet_files(tmp_path / "site.csv", tmp_path / "all.toml")
    assert {place: path.name for place, path in found.items()} == {
        "fleet.csv": "site.csv", "fleet.token": "site.token", "fleet.rollout": "site.rollout",
        "defaults.toml": "all.toml",
    }  # fmt: skip
    with pytest.raises(ProvisionError, match=r"\.csv or \.toml"):
        stick.fleet_files(tmp_path / "site.xlsx", None)


@pytest.mark.parametrize("image", ["images", f"images/{NAME}", PLACE])
def test_rules_that_fit_the_stick(tmp_path: Path, image: str) -> None:
    text = f'image = "{image}"\nfleet = "fleet.csv"\nkey = "key.asc"\nledger = "mine.jsonl"\n'
    stick.require_rules(rules(tmp_path, text), (PLACE, "fleet.csv", "key.asc"), X86_64)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('image = "releases"\n', "releases has no image"),
        ('image = "image"\n', "image has no image"),
        ('image = "images"\nkey = "releases.asc"\n', "the stick has no releases.asc"),
        ('image = "images"\nfleet = "gateways.csv"\n', "the stick has no gateways.csv"),
        ('image = "images"\nledger = "/var/ledger"\n', "/var/ledger is not on the stick"),
        ('image = "images"\nkey = "../key.asc"\n', "the stick has no ../key.asc"),
    ],
)
def test_rules_that_name_what_is_not_there_are_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ProvisionError) as caught:
        stick.require_rules(rules(tmp_path, text), (PLACE, "key.asc"), X86_64)
    assert problem in caught.value.message
    assert "images, key.asc" in str(caught.value.hint)


def test_rules_do_not_choose_between_two_images(tmp_path: Path) -> None:
    places = (PLACE, PLACE.replace("1.4.2", "1.5.0"))
    with pytest.raises(ProvisionError, match="2 images for x86-64"):
        stick.require_rules(rules(tmp_path, 'image = "images"\n'), places, X86_64)
    stick.require_rules(rules(tmp_path, f'image = "images/{NAME}"\n'), places, X86_64)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "large"
    with image.open("wb") as file:
        file.truncate(100 << 20)
    stick.require_room({"images/large": image}, 104 << 20)
    with pytest.raises(BudgetError, match="104 MiB, and a stick has room for 103 MiB"):
        stick.require_room({"images/large": image}, 103 << 20)


def test_images_of_a_stick_are_found_one_directory_below(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for version in ("1.4.2", "1.5.0"):
        release(images / f"gateway_{version}", f"gateway_{version}.raw.zst")
    release(images / ".Trashes", "gateway_1.3.0.raw.zst")
    release(images / "gateway_1.5.0", "._gateway_1.5.0.raw.zst")
    found = source.images(images, ARM64)
    assert [path.name for path in found] == ["gateway_1.4.2.raw.zst", "gateway_1.5.0.raw.zst"]
