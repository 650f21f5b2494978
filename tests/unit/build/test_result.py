"""What a build reports before it begins, and the finished image that it finds unchanged."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import ARM, X86_64
from edgeimg.build import result
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.image.manifest import Contents, K3sFacts, Manifest, encode
from edgeimg.image.partitions import DiskPlan
from edgeimg.progress import Silent
from edgeimg.recipe.file import load

RECIPE = Path(__file__).parents[3] / "recipes/gateway.toml"


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def announced(plan: BuildPlan, **k3s: object) -> list[str]:
    told = Told()
    wanted = plan.recipe.k3s.model_copy(update=k3s)
    recipe = plan.recipe.model_copy(update={"k3s": wanted})
    result.announce(dataclasses.replace(plan, recipe=recipe), told)
    return told.notes


@pytest.fixture
def plan() -> BuildPlan:
    return plan_build(load(RECIPE), X86_64, BuildOptions(output=Path("out")))


def test_the_official_k3s_needs_no_remark(plan: BuildPlan) -> None:
    assert announced(plan, source="release", airgap=("coredns",)) == []


def test_a_stand_in_is_named_and_what_it_does_not_bring(plan: BuildPlan) -> None:
    (told,) = announced(plan, source="standin", airgap=())
    assert "NOT K3s" in told
    assert len(announced(plan, source="standin", airgap=("coredns", "local-storage"))) == 1
    _, lacks = announced(plan, source="standin", airgap=("coredns", "servicelb", "traefik"))
    assert "no servicelb or traefik" in lacks


def test_an_index_without_a_good_signature_is_named() -> None:
    plan = plan_build(load(RECIPE), ARM, BuildOptions(output=Path("out")))
    assert plan.inputs.unsigned_index
    assert any("index that did not match its signature" in note for note in announced(plan))


@pytest.fixture
def finished(plan: BuildPlan, tmp_path: Path) -> BuildPlan:
    """The plan of a build whose files, are in its directory."""
    plan = dataclasses.replace(plan, output=tmp_path)
    plan.directory.mkdir()
    manifest = Manifest(
        contents=Contents(
            id="gateway",
            version="1",
            arch="x86-64",
            epoch=1,
            kernel="6.12",
            k3s=K3sFacts(version="v1.35.0+k3s1", source="release", sha256="0", standin=False),
            packages=(),
            components={},
        ),
        root_hash="r",
        disk=DiskPlan(uuid="u", size=1, partitions=()),
        sizes={"root": 7},
        digests={"build": plan.key},
    )
    files = {
        f"{plan.name}.bmap": b"<bmap/>",
        f"{plan.name}.manifest.json": encode(manifest.to_json()),
        f"{plan.name}.raw.zst": bytes(range(256)) * 16,
    }
    for name, data in files.items():
        (plan.directory / name).write_bytes(data)
    (plan.directory / "SHA256SUMS").write_text(
        "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    )
    return plan


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 16
    path.write_bytes(data)


def test_a_finished_image_is_found_by_its_key(finished: BuildPlan) -> None:
    told = Told()
    built = result.existing(finished, told)
    assert built is not None
    assert built.unchanged
    assert built.sha256 == hashlib.sha256(bytes(range(256)) * 16).hexdigest()
    assert built.files[f"{finished.name}.bmap"].size == 7
    other = dataclasses.replace(finished, k3s_identity="another")
    assert result.existing(other, told) is None
    assert told.notes == []


@pytest.mark.parametrize("suffix", [".raw.zst", ".bmap"])
def test_a_damaged_file_is_not_called_unchanged(finished: BuildPlan, suffix: str) -> None:
    path = finished.directory / f"{finished.name}{suffix}"
    whole = path.read_bytes()
    for offset in range(0, len(whole), 5):
        told = Told()
        flip(path, offset)
        assert result.existing(finished, told) is None
        assert "damaged" in "".join(told.notes)
        path.write_bytes(whole)
    assert result.existing(finished, Told()) is not None


@pytest.mark.parametrize("name", ["manifest", "SHA256SUMS"])
def test_no_byte_of_manifest_or_sums_may_differ(finished: BuildPlan, name: str) -> None:
    manifest = finished.directory / f"{finished.name}.manifest.json"
    path = manifest if name == "manifest" else finished.directory / "SHA256SUMS"
    whole = path.read_bytes()
    for offset in range(len(whole)):
        flip(path, offset)
        assert result.existing(finished, Told()) is None, offset
        path.write_bytes(whole)
    assert result.existing(finished, Told()) is not None


MISSING: dict[str, Callable[[Path, str], object]] = {
    "file": lambda directory, name: (directory / f"{name}.bmap").unlink(),
    "sums": lambda directory, _: (directory / "SHA256SUMS").unlink(),
    "end": lambda directory, name: os.truncate(directory / f"{name}.raw.zst", 4095),
    "row": lambda directory, _: (directory / "SHA256SUMS").write_text(
        "".join((directory / "SHA256SUMS").read_text().splitlines(keepends=True)[1:])
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_an_incomplete_image_is_not_called_unchanged(finished: BuildPlan, what: str) -> None:
    MISSING[what](finished.directory, finished.name)
    assert result.existing(finished, Told()) is None
