"""Two builders with one shared cache: the second one makes nothing, unless the image is damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from edgeimg.arch import X86_64
from edgeimg.build import pipeline, result
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.build.result import Built
from edgeimg.cache.store import Store
from edgeimg.fetch.shared_address import Address
from edgeimg.fetch.shared_cache import SharedCache
from edgeimg.image.layout import SUMS
from edgeimg.image.manifest import Contents, K3sFacts, Manifest, encode
from edgeimg.pack import disk
from edgeimg.recipe.file import load
from edgeimg.ui import Ui

from tests.cache_server import CacheServer

PROJECT = Path(__file__).parents[3]
HASH = "ab" * 32
SIZES = {"root": 1 << 20, "verity": 1 << 12}
UI = Ui(verbosity=-1)


@pytest.fixture(scope="module")
def plan() -> BuildPlan:
    """Of an image with a small disk."""
    found = plan_build(
        load(PROJECT / "recipes/gateway.toml"), X86_64, BuildOptions(output=Path("out"))
    )
    sizes = {"slot": 16 << 20, "verity": 1 << 20, "esp": 36 << 20, "config": 9 << 20}
    image = found.recipe.image.model_copy(update=sizes)
    return replace(found, recipe=found.recipe.model_copy(update={"image": image}))


def files(plan: BuildPlan, *, more: int = 0, **digests: str) -> dict[str, bytes]:
    """Files of a finished image, whose disk has `more` bytes than it should."""
    parts = {"root-a": SIZES["root"], "root-a-verity": SIZES["verity"]}
    layout = disk.plan(plan.recipe, plan.arch, HASH, parts)
    manifest = Manifest(
        contents=Contents(
            id=plan.recipe.image.id,
            version=plan.recipe.image.version,
            arch=plan.arch.name,
            epoch=1,
            kernel="6.12",
            k3s=K3sFacts(version="v1.35.0+k3s1", source="release", sha256="0", standin=False),
            packages=(),
            components={},
        ),
        root_hash=HASH,
        disk=layout,
        sizes=SIZES,
        digests={"build": plan.key, **digests},
    )
    return {
        f"{plan.name}.bmap": b"<bmap/>",
        f"{plan.name}.manifest.json": encode(manifest.to_json()),
        f"{plan.name}.raw.zst": zstandard.compress(bytes(layout.size + more)),
    }


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BuildPlan]:
    """The plans that were composed and packed: each writes the files of a finished image."""
    plans: list[BuildPlan] = []

    def make(plan: BuildPlan, *_: object) -> Built:
        plans.append(plan)
        plan.directory.mkdir(parents=True, exist_ok=True)
        content = files(plan)
        for name, data in content.items():
            (plan.directory / name).write_bytes(data)
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items()]
        (plan.directory / SUMS).write_text("".join(lines))
        built = result.existing(plan, UI)
        assert built is not None
        return replace(built, unchanged=False)

    monkeypatch.setattr(pipeline, "_make", make)
    return plans


@pytest.fixture
def server() -> Iterator[CacheServer]:
    with CacheServer() as running:
        yield running


@pytest.fixture
def build(plan: BuildPlan, server: CacheServer, tmp_path: Path) -> Callable[..., Built]:
    """Build as the builder `name`, in a directory and with a cache of its own."""

    def run(name: str, *, writes: bool = False, offline: bool = False) -> Built:
        own = replace(plan, output=tmp_path / name, offline=offline)
        cache = SharedCache(Address(url=server.url, writes=writes))
        store = Store(tmp_path / f"{name}.cache")
        try:
            return pipeline.build(own, store=store, ui=UI, cache=cache)
        finally:
            cache.close()

    return run


def test_the_second_builder_makes_nothing(
    build: Callable[..., Built], made: list[BuildPlan], server: CacheServer
) -> None:
    first = build("first", writes=True)
    assert (len(made), first.shared) == (1, False)
    second = build("second")
    assert (len(made), second.shared, second.unchanged) == (1, True, False)
    assert second.sha256 == first.sha256
    for name in (*first.files, SUMS):
        assert (first.directory / name).read_bytes() == (second.directory / name).read_bytes()
    asked = len(server.requests)
    again = build("second")
    assert (len(made), again.shared, again.unchanged) == (1, True, True)
    assert len(server.requests) == asked


def test_nothing_is_written_unless_asked_and_nothing_is_read_offline(
    build: Callable[..., Built], made: list[BuildPlan], server: CacheServer
) -> None:
    build("reader")
    assert server.files == {}
    server.requests.clear()
    build("offline", writes=True, offline=True)
    assert server.requests == []
    assert len(made) == 2


def test_what_is_damaged_is_made_again_and_stored_again(
    plan: BuildPlan, build: Callable[..., Built], made: list[BuildPlan], server: CacheServer
) -> None:
    build("first", writes=True)
    good = dict(server.files)
    place = f"/cache/ac/{plan.key}"

    def stored(content: dict[str, bytes]) -> dict[str, bytes]:
        """A consistent entry of these files."""
        document: Any = json.loads(good[place])
        blobs = {hashlib.sha256(data).hexdigest(): data for data in content.values()}
        document["files"] = {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in content.items()
        }
        entry = {place: json.dumps(document).encode()}
        return entry | {f"/cache/cas/{sha256}": data for sha256, data in blobs.items()}

    blob = next(path for path in good if path.startswith("/cache/cas/"))
    name = f"{plan.name}.raw.zst"
    bad = {
        "vanished": {path: data for path, data in good.items() if path != blob},
        "damaged": {**good, blob: good[blob][:-1] + b"?"},
        "another key": stored(files(plan, build="00")),
        "a bomb": stored(files(plan, more=64 << 20)),
        "a short disk": stored(files(plan, more=-512)),
        "no disk": stored({**files(plan), name: b"\x28\xb5\x2f\xfdxxxxxxxx"}),
    }
    for what, content in bad.items():
        server.files.clear()
        server.files.update(content)
        before = len(made)
        built = build(what, writes=True)
        assert (len(made), built.shared) == (before + 1, False), what
        assert server.files.items() >= good.items(), what
        assert build(f"{what}, again").shared, what
