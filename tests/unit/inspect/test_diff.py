"""The differences between two manifests, and only those."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from edgeimg.errors import ImageError
from edgeimg.image.manifest import Manifest
from edgeimg.inspect import diff

OLD: dict[str, Any] = {
    "schema": "edgeimg-manifest-1",
    "image": {"id": "gateway", "version": "1.0", "arch": "arm64", "epoch": 1},
    "kernel": "6.12.1",
    "k3s": {"version": "v1.35.0+k3s1", "source": "release", "sha256": "aa", "standin": False},
    "packages": [
        {"name": "systemd", "version": "257.1", "arch": "arm64"},
        {"name": "gone", "version": "1", "arch": "arm64"},
    ],
    "components": {"k3s": 100, "package:systemd": 50},
    "sizes": {"root": 150},
    "kernel_config": {"DM_VERITY": "m"},
    "root_hash": "0" * 64,
    "disk": {"uuid": "u", "size": 1, "partitions": []},
    "files": {
        "usr/bin/a": [10, "k3s", "1111"],
        "usr/bin/b": [10, "k3s", "2222"],
    },
}


def compare(old: dict[str, Any], new: dict[str, Any]) -> diff.Diff:
    return diff.compare(read(old), read(new))


def read(values: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(values).encode())


def test_equal_images_have_no_differences() -> None:
    assert compare(OLD, copy.deepcopy(OLD)).sections == {}


def test_everything_that_differs_is_told_once() -> None:
    new = copy.deepcopy(OLD)
    new["image"]["version"] = "1.1"
    new["k3s"]["standin"] = True
    new["packages"] = [{"name": "systemd", "version": "257.2", "arch": "arm64"}]
    new["components"]["package:systemd"] = 70
    new["sizes"]["root"] = 170
    new["kernel_config"] = {"DM_VERITY": "y"}
    new["files"] = {"usr/bin/a": [10, "k3s", "3333"], "usr/bin/c": [5, "k3s", "2222"]}

    found = compare(OLD, new)

    assert {
        section: [(change.name, change.before, change.after) for change in changes]
        for section, changes in found.sections.items()
    } == {
        "image": [("version", "1.0", "1.1")],
        "k3s": [("standin", "False", "True")],
        "packages": [("gone", "1", None), ("systemd", "257.1", "257.2")],
        "sizes": [("root", 150, 170)],
        "components": [("package:systemd", 50, 70)],
        "kernel_config": [("DM_VERITY", "m", "y")],
        "files": [("usr/bin/a", 10, 10), ("usr/bin/b", 10, None), ("usr/bin/c", None, 5)],
    }
    assert [change.growth for change in found.sections["files"]] == [0, -10, 5]
    assert (found.old, found.new) == ("gateway_1.0_arm64", "gateway_1.1_arm64")


def test_what_an_older_manifest_does_not_list_has_not_come() -> None:
    old = {key: value for key, value in OLD.items() if key not in ("files", "kernel_config")}
    assert compare(old, OLD).sections == {}


def test_a_manifest_is_found_beside_its_image(tmp_path: Path) -> None:
    (tmp_path / "x.manifest.json").write_text(json.dumps(OLD))
    for name in ("x.manifest.json", "x.raw.zst", "x.raw"):
        assert diff.read_manifest(tmp_path / name) == read(OLD)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "other"}', "null", "\x00"])
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ImageError):
        diff.read_manifest(path)
    with pytest.raises(ImageError, match="cannot read"):
        diff.read_manifest(tmp_path / "none.raw.zst")
    damaged = {**OLD, "packages": 3}
    path.write_text(json.dumps(damaged))
    with pytest.raises(ImageError, match="damaged"):
        diff.read_manifest(path)


def test_services_that_changed_are_told_and_unlisted_ones_are_not() -> None:
    one = {
        "name": "ssh",
        "kind": "packages",
        "source": "dropbear-bin",
        "image": "",
        "digest": "a" * 64,
    }
    old, new = {**OLD, "services": [one]}, {**OLD, "services": [{**one, "digest": "b" * 64}]}
    (change,) = compare(old, new).sections["services"]
    assert (change.name, change.after) == ("ssh", f"packages dropbear-bin ({'b' * 12})")
    (change,) = compare({**OLD, "services": []}, new).sections["services"]
    assert change.before is None
    # A manifest of before there were any says nothing about them.
    assert compare(OLD, new).sections == {}
