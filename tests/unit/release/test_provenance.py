"""The statement names every file and every input by its digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import plan_build
from edgeimg.image.manifest import K3sFacts
from edgeimg.recipe.file import load
from edgeimg.release import os_list, provenance
from edgeimg.release.gates import Hold
from edgeimg.release.os_list import Entry
from edgeimg.release.provenance import Origin
from edgeimg.sbom import Distribution

K3S = K3sFacts(version="v1.35.0+k3s1", source="release", sha256="cc" * 32, standin=False)
PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def statement() -> bytes:
    source = load(PROJECT / "recipes/gateway.toml")
    options = BuildOptions(output=Path("out"))
    plans = [plan_build(source, arch, options) for arch in ARCHITECTURES]
    origin = Origin(
        recipe="gateway.toml",
        recipes={"recipes/gateway.toml": "aa" * 32, "recipes/base.toml": "ee" * 32},
        lock_sha256="bb" * 32,
        k3s={"arm": K3S},
        distribution=Distribution(version="13"),
        tools=plans[0].lock.tools["pack"]["x86-64"],
        builder_version="0.1.0",
        builder_digest="dd" * 32,
        overrides=(Hold(gate="standin", reason="arm: stand-in"),),
    )
    return provenance.statement({"b.raw.zst": "11" * 32, "a.efi": "22" * 32}, plans, origin)


def test_subjects_are_the_files(statement: bytes) -> None:
    data = json.loads(statement)
    assert data["_type"] == "https://in-toto.io/Statement/v1"
    assert data["predicateType"] == "https://slsa.dev/provenance/v1"
    assert data["subject"] == [
        {"name": "a.efi", "digest": {"sha256": "22" * 32}},
        {"name": "b.raw.zst", "digest": {"sha256": "11" * 32}},
    ]


def test_every_locked_package_is_a_dependency(statement: bytes) -> None:
    definition = json.loads(statement)["predicate"]["buildDefinition"]
    digests = {entry["digest"]["sha256"] for entry in definition["resolvedDependencies"]}
    lock = plan_build(
        load(PROJECT / "recipes/gateway.toml"), ARCHITECTURES[0], BuildOptions(output=Path("out"))
    ).lock
    packages = {p.sha256 for image in lock.images.values() for p in image.packages()}
    tools = {package.sha256 for package in lock.tools["pack"]["x86-64"]}
    assert digests == packages | tools | {"aa" * 32, "bb" * 32, "cc" * 32, "ee" * 32}
    names = [entry["name"] for entry in definition["resolvedDependencies"][:4]]
    assert names == [
        "recipes/base.toml", "recipes/gateway.toml", "gateway.lock.toml", "k3s-arm",
    ]  # fmt: skip
    assert definition["externalParameters"]["overrides"] == [
        {"gate": "standin", "reason": "arm: stand-in"}
    ]


def test_packages_have_urls(statement: bytes) -> None:
    definition = json.loads(statement)["predicate"]["buildDefinition"]
    urls = [entry["uri"] for entry in definition["resolvedDependencies"] if "uri" in entry]
    assert any(url.startswith("pkg:deb/debian/systemd@257.") for url in urls)
    assert all(url.endswith("distro=debian-13") for url in urls)
    assert not any("+" in url.partition("@")[2] for url in urls)


@pytest.mark.parametrize(
    ("url", "expected"),
    [(None, "x.raw.zst"), ("https://example.org/r/", "https://example.org/r/x.raw.zst")],
)
def test_the_list_for_imagers_tells_sizes_and_digests(url: str | None, expected: str) -> None:
    entry = Entry(
        name="gateway 1.0 (arm)", arch="arm", download="x.raw.zst", download_size=5,
        download_sha256="aa", raw_size=9, raw_sha256="bb", epoch=1767225600,
    )  # fmt: skip
    (listed,) = json.loads(os_list.document([entry], url=url))["os_list"]
    assert listed["url"] == expected
    assert listed["release_date"] == "2026-01-01"
    assert (listed["extract_size"], listed["image_download_size"]) == (9, 5)
    assert (listed["extract_sha256"], listed["image_download_sha256"]) == ("bb", "aa")
