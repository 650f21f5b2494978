"""The rules of an unattended installation, and the image that they name."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.arch import ARM64, X86_64
from edgeimg.errors import ImageError, ProvisionError
from edgeimg.install import rules, source
from edgeimg.install.rules import SIGNS, Disk, Rules

PAGE = Path(__file__).parents[3] / "docs/how-to/installer.md"


def load(folder: Path, text: str) -> Rules:
    path = folder / "install.toml"
    path.write_text(text)
    return rules.load(path)


GOOD = 'image = "release"\n[disk]\nonly_internal = true\n'


def test_paths_are_those_beside_the_file(tmp_path: Path) -> None:
    text = f'key = "k.asc"\nfleet = "f.csv"\nledger = "/run/l"\n{GOOD}'
    found = load(tmp_path, text)
    assert (found.image, found.key, found.fleet) == (
        tmp_path / "release", tmp_path / "k.asc", tmp_path / "f.csv",
    )  # fmt: skip
    assert found.ledger == Path("/run/l")
    assert (found.countdown, found.after, found.row) == (30, "stay", SIGNS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('image = "x"\n', "disk: is missing"),
        ('[disk]\nserial = "x"\n', "expected either image or release"),
        ('image = "x"\n[disk]\n', r":2: disk: expected one of serial, model, path"),
        ('image = "x"\n[disk]\nerase = true\n', "expected one of serial"),
        ('image = "x"\n[disk]\nserial = ""\n', r":3: disk\.serial: expected a serial number"),
        ('image = "x"\n[disk]\npath = "sda"\n', r":3: disk\.path: expected a device"),
        ('image = "x"\n[disk]\nmin_size = "2 GB"\nmax_size = "1 GB"\n', "larger than max_size"),
        ('image = "x"\n[disk]\nonly_internal = true\nremovable = true\n', "contradict"),
        (f'row = ["mac"]\n{GOOD}', "row without a fleet"),
        (f'row = ["imei"]\nfleet = "f"\n{GOOD}', r":1: row\.0: expected 'dmi-serial'"),
        (f'after = "halt"\n{GOOD}', "expected 'stay', 'reboot' or 'poweroff'"),
        (f"countdown = -1\n{GOOD}", ":1: countdown"),
        (f'release = "https://host/1"\n{GOOD}', "expected either image or release"),
        ('release = "https://host/1"\n[disk]\nonly_internal = true\n', "release without a key"),
        ('release = "ftp://h/1"\nkey = "k"\n[disk]\nserial = "x"\n', ":1: release: expected an ad"),
        ('release = "http://u:p@h/1"\nkey = "k"\n[disk]\nserial = "x"\n', ":1: release: expect"),
        (f"contdown = 1\n{GOOD}", "did you mean 'countdown'"),
        ("= 1", ":1: not TOML|:1:"),
    ],
)
def test_wrong_rules_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ProvisionError, match=says) as caught:
        load(tmp_path, text)
    assert caught.value.hint is None or "documentation" in caught.value.hint
    load(tmp_path, GOOD)


def test_every_key_is_on_the_page() -> None:
    text = PAGE.read_text()
    for model in (Rules, Disk):
        assert [name for name in model.model_fields if f"`{name}`" not in text] == []


def test_the_image_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.raw.zst").touch()
    (tmp_path / "a.raw").touch()
    (tmp_path / "notes.txt").touch()
    assert source.one(source.images(tmp_path, X86_64)) == tmp_path / "a.raw.zst"
    (tmp_path / "b.raw").touch()
    with pytest.raises(ImageError, match=r"2 images are in .*, expected one"):
        source.one(source.images(tmp_path, X86_64))
    assert source.images(tmp_path / "b.raw", ARM64) == (tmp_path / "b.raw",)
    with pytest.raises(ImageError, match="there is no image"):
        source.images(tmp_path / "c.raw", X86_64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="there is no image for x86-64 in"):
        source.images(tmp_path / "empty", X86_64)


def test_images_of_another_architecture_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gw_1_arm64.raw.zst", "gw_1_x86-64.raw.zst"):
        (tmp_path / name).touch()
    monkeypatch.setattr(
        source, "arch_of", lambda path: path.name.removesuffix(".raw.zst").rpartition("_")[2]
    )
    assert source.one(source.images(tmp_path, ARM64)).name == "gw_1_arm64.raw.zst"
    with pytest.raises(ImageError, match="is an image for arm64, and this machine is x86-64"):
        source.images(tmp_path / "gw_1_arm64.raw.zst", X86_64)
