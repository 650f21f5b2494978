"""The promise: each architecture's default image runs a pod in 512 MB, before and after a restart.

The images are built by the command line as a user would, with the K3s stand-in, and booted
unchanged. What the command line prints is kept in out/test/.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARCHITECTURES, X86_64, Arch
from edgeimg.cache.store import Store, default_root
from edgeimg.smoke import wear
from edgeimg.sources import standin

from tests.gateway import CPUS

PROJECT = Path(__file__).parents[2]
OUTPUT = PROJECT / "out/test"

pytestmark = pytest.mark.boot

archs = pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)


def edgeimg(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("edgeimg") or "edgeimg", *arguments],
        cwd=options.pop("cwd", PROJECT),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


def build(arch: Arch) -> dict[str, Any]:
    done = edgeimg("build", "-a", arch.name, "--k3s", "standin", "-o", str(OUTPUT), "--json")
    assert done.returncode == 0, done.stdout
    (image,) = json.loads(done.stdout)["images"]
    assert isinstance(image, dict)
    return image


@archs
def test_image_is_within_budget_and_tells_what_it_holds(arch: Arch) -> None:
    image = build(arch)
    for name, limit in image["budget"].items():
        assert image["sizes"][name] <= limit, name
    path = Path(image["image"])
    sums = (path.parent / "SHA256SUMS").read_text().split()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in sums
    seen = edgeimg("inspect", str(path), "--json")
    assert seen.returncode == 0
    found = json.loads(seen.stdout)
    assert found["image"]["arch"] == arch.name
    assert found["root_hash"] == image["root_hash"]
    assert found["k3s"]["standin"] is True


@archs
def test_pod_runs_in_512_mib_twice(arch: Arch) -> None:
    build(arch)
    junit = OUTPUT / f"smoke-{arch.name}.xml"
    done = edgeimg(
        "smoke", "-a", arch.name, "--cpus", str(CPUS), "-o", str(OUTPUT), "--junit", str(junit),
        "--json", "-v",
    )  # fmt: skip
    (OUTPUT / f"smoke-{arch.name}.json").write_text(done.stdout)
    (report,) = json.loads(done.stdout)["reports"]
    assert report["failures"] == []
    assert done.returncode == 0
    assert report["memory_mib"] == 512
    assert report["cpus"] == CPUS
    assert len(report["boots"]) == 2
    rest = wear.measurement(report["boots"][1]["report"])
    assert rest is not None
    print(f"\n{arch.name} at rest: {rest.hourly} bytes an hour, {rest.summary()}")
    for number, boot in enumerate(report["boots"], 1):
        seconds = {stage["name"]: stage["uptime"] for stage in boot["stages"]}
        memory = boot["report"]["memory_kib"]
        print(f"\n{arch.name} boot {number}: {seconds} s; memory {memory} KiB")
    assert "<testsuite" in junit.read_text()


def test_another_place_clock_and_umask_give_the_same_bytes(tmp_path: Path) -> None:
    first = build(X86_64)
    cache, project = tmp_path / "cache", tmp_path / "elsewhere"
    share_downloads(cache)
    for name in ("recipes", "overlays"):
        shutil.copytree(PROJECT / name, project / name, symlinks=True)
    done = edgeimg(
        "build", "-a", "amd64", "--k3s", "standin", "--offline", "--json",
        cwd=project,
        env={**os.environ, "EDGEIMG_CACHE": str(cache), "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
        umask=0o077,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (second,) = json.loads(done.stdout)["images"]
    assert second["unchanged"] is False
    assert second["sha256"] == first["sha256"]


def share_downloads(cache: Path) -> None:
    """A cache with the downloads and the compiled stand-in, where all else is made again."""
    (cache / "derived").mkdir(parents=True)
    (cache / "blobs").symlink_to(default_root() / "blobs")
    compiled = standin.cached(X86_64, Store(default_root()))
    assert compiled is not None
    (cache / "derived" / compiled.name).symlink_to(compiled)
