"""Every way for a build to fail: one clear error and exit code, nothing half-written, and the next
build succeeds.

The real command line runs as a child process. Exit codes are those of edgeimg.errors.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg import errors
from edgeimg.arch import ARM64
from edgeimg.cache.store import Store
from edgeimg.lock.model import Lock

from tests.fake_k3s import FakeK3s
from tests.integration.failing import (
    NAME,
    SECONDS,
    Project,
    assert_one_error,
    exclusive,
    wait_until,
)
from tests.integration.fileserver import FileServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("downloads")]

KILLED = {signal.SIGINT: errors.INTERRUPTED, signal.SIGTERM: errors.INTERRUPTED}
"""Exit codes; SIGKILL has none of edgeimg's."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_wrong_inputs_are_named_and_the_next_build_succeeds(project: Project) -> None:
    project.share()
    right = project.k3s.read_bytes()

    project.k3s.write_bytes(FakeK3s(ARM64).binary())
    assert_one_error(project.build(), 8, "error: .*k3s is a program for arm64, but .* for x86-64")

    for size in (0, 30, 700, len(right) // 2, len(right) - 100):
        project.k3s.write_bytes(right[:size])
        done = project.build()
        assert_one_error(done, done.returncode, "k3s.*(truncated|not a program|damaged)")
        assert done.returncode in (6, 7)

    project.k3s.write_bytes(right)
    recipe = project.recipe.read_text()
    project.edit({"[kernel]\n": "[kernel]\nmodule = 3\n"})
    assert_one_error(project.build(), 3, r"gateway.toml:\d+: kernel.module: unknown key; did you")
    project.recipe.write_text(recipe)
    project.edit({'"overlays/ballast"': '"overlays/none"'})
    assert_one_error(project.build(), 3, "overlay.paths: there is no directory .*overlays/none")
    project.recipe.write_text(recipe)
    project.edit({'  "netbase",': '  "busybox-static",'})
    assert_one_error(project.build(), 4, "the lock does not fit the recipe any more.*busybox")
    project.recipe.write_text(recipe)

    assert not project.output.exists()
    project.succeeds("--offline")


def test_a_budget_one_byte_too_small_fails_and_keeps_the_last_image(project: Project) -> None:
    project.share()
    first = project.succeeds("--offline")
    sizes = first["sizes"]
    old = {"root": '"256 MiB"', "download": '"120 MiB"', "initrd": '"12 MiB"'}
    for part, limit in old.items():
        recipe = project.recipe.read_text()
        line = f"{part} = {limit}"
        project.edit({line: f"{part} = {sizes[part] - 1}"})
        assert_one_error(project.build(), 10, f"budget.{part}: [0-9,]+ bytes, 1 more than")
        project.assert_whole()
        project.recipe.write_text(recipe)
    again = project.succeeds("--offline")
    assert again["sha256"] == first["sha256"]
    assert again["unchanged"] is True  # the failures did not touch it
    project.edit({f"{part} = {limit}": f"{part} = {sizes[part]}" for part, limit in old.items()})
    assert project.succeeds("--offline")["sha256"] == first["sha256"]


def test_check_tells_all_that_is_wrong_and_publishes_nothing(project: Project) -> None:
    project.share()
    program = project.root / "overlays/ballast/usr/lib/ballast.d/program"
    program.parent.mkdir()
    program.write_bytes(FakeK3s(ARM64).binary())
    project.edit({'root = "256 MiB"': "root = 4096"})

    done = project.check("--json")

    assert_one_error(done, errors.CheckError.exit_code, "1 error found.*\n.*ballast.d/program")
    (report,) = json.loads(done.stdout)["reports"]
    wrong, large = report["findings"]
    assert (wrong["check"], wrong["path"]) == ("elf", "usr/lib/ballast.d/program")
    assert (large["check"], large["path"]) == ("size", "budget.root")
    assert_one_error(project.build(), errors.CheckError.exit_code, "ballast.d/program")

    program.unlink()
    done = project.check("--json")
    assert_one_error(done, errors.BudgetError.exit_code, "over budget: budget.root")
    (report,) = json.loads(done.stdout)["reports"]
    assert [finding["path"] for finding in report["findings"]] == ["budget.root"]
    assert not project.output.exists()

    project.edit({"root = 4096": f"root = {report['sizes']['root']}"})
    image = project.succeeds("--offline")
    assert image["sizes"] == report["sizes"]
    assert project.check().returncode == 0


def test_builds_into_the_same_place_take_turns(project: Project) -> None:
    project.share()
    processes = [project.start("--offline") for _ in range(3)]
    ends = [process.communicate(timeout=SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ends
    assert project.succeeds("--offline")["unchanged"] is True


def test_a_tampered_package_is_removed_and_fetched_anew(
    project: Project, server: FileServer, default_lock: Lock, cache: Store
) -> None:
    package = exclusive(default_lock)[0]
    project.share(without=(package,))
    data = cache.blob(package.sha256).read_bytes()
    blob = project.cache / "blobs" / package.sha256
    server.files[f"/debian/{package.path}"] = data
    server.files[f"/security/{package.path}"] = data
    base = server.url
    project.env = {
        "EDGEIMG_MIRROR": f"{base}/debian",
        "EDGEIMG_SECURITY_MIRROR": f"{base}/security",
    }
    for wrong in (data[:-1] + b"\x00\x01"[data[-1] == 0 :][:1], data[: len(data) // 2], b""):
        blob.write_bytes(wrong)
        assert_one_error(
            project.build("--offline"), 6, f"package:{package.name} in the cache .* removed"
        )
        assert not blob.exists()
    assert_one_error(project.build("--offline"), 5, f"offline, but 1 of .*{package.name}")
    assert server.log == []
    project.succeeds()
    assert blob.read_bytes() == data
    assert len(server.log) == 1
    blob.write_bytes(data[:-1])
    shutil.rmtree(project.output)
    project.succeeds()  # it is fetched anew in the same run
    assert blob.read_bytes() == data
    assert len(server.log) == 2


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_stopped_while_it_fetches_goes_on_where_it_was(
    project: Project, server: FileServer, default_lock: Lock, cache: Store, signum: signal.Signals
) -> None:
    packages = exclusive(default_lock)
    project.share(without=packages)
    for package in packages:
        data = cache.blob(package.sha256).read_bytes()
        for archive in ("debian", "security"):
            server.files[f"/{archive}/{package.path}"] = data
    base = server.url
    project.env = {
        "EDGEIMG_MIRROR": f"{base}/debian",
        "EDGEIMG_SECURITY_MIRROR": f"{base}/security",
    }
    server.rate = min(package.size for package in packages) / 5
    process = project.start()
    parts = [project.cache / "partial" / f"{package.sha256}.part" for package in packages]
    wait_until(lambda: all(p.is_file() and p.stat().st_size for p in parts), process)
    stop(process, signum)
    assert not any((project.cache / "blobs" / package.sha256).exists() for package in packages)
    assert not project.output.exists()
    server.rate, before = None, len(server.log)
    project.succeeds()
    assert all(asked.startswith("bytes=") for _, asked in server.log[before:])


STAGES: dict[str, Callable[[Project], object]] = {
    "the root": lambda project: any("mkfs.erofs" in line for line in project.processes()),
    "the image": lambda project: list(project.output.glob("*/.partial/*.raw.zst")),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_stopped_while_it_packs_leaves_nothing_that_counts(
    project: Project, signum: signal.Signals, stage: str
) -> None:
    project.share()
    if stage == "the root":  # slow enough to be met at work
        project.edit({'compression = "none"': 'compression = "lzma,9"'})
    process = project.start("--offline")
    wait_until(lambda: STAGES[stage](project), process)
    stop(process, signum)
    if signum is not signal.SIGKILL:
        assert project.processes() == []
        assert list((project.cache / "partial").iterdir()) == []
        assert list(project.output.glob("*/.partial")) == []
    made = {path.name for path in (project.cache / "derived").iterdir() if not path.is_symlink()}
    assert list(project.output.glob("*/*.raw.zst")) == []
    project.assert_whole()
    if signum is signal.SIGKILL:  # its tools may finish, and nobody takes what they made
        wait_until_over(project)
        assert {p.name for p in (project.cache / "derived").iterdir() if not p.is_symlink()} == made
        assert list(project.output.glob("*/*.raw.zst")) == []
    if stage == "the root":
        project.edit({"lzma,9": "none"})
    project.succeeds("--offline")


def stop(process: subprocess.Popen[str], signum: signal.Signals) -> None:
    """Send a signal (Ctrl-C reaches a shell's whole process group) and judge how it ends."""
    if signum is signal.SIGINT:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    out, err = process.communicate(timeout=15)
    if signum in KILLED:
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        assert_one_error(done, KILLED[signum], "error: interrupted")
    else:
        assert process.returncode == -signum
        assert "Traceback" not in err


def wait_until_over(project: Project) -> None:
    deadline = time.monotonic() + SECONDS
    while project.processes():
        assert time.monotonic() < deadline, project.processes()
        time.sleep(0.05)


MOUNT = """
set -eu
mount -t tmpfs -o "size=$1" none "$2"
cp -a "$2.links/." "$2/"
shift
directory=$1
shift
set +e
"$@"
echo "status $?" >&2
set -e
test ! -d "$directory/partial" || test -z "$(ls -A "$directory/partial")"
test -z "$(find "$directory" -path "$directory/blobs" -prune -o -name '*.raw.zst' -print)"
mount -t tmpfs -o size=2g none "$directory.links"
cp -a "$directory/." "$directory.links/"
mount --bind "$directory.links" "$directory"
exec "$@" --json
"""
"""A small disk in a mount namespace: the build fails, the disk is replaced by a larger one with
the same files, the build succeeds.
"""

FULL = {
    "unpacking": ("cache", False, "4m"),
    "the root's tar": ("cache", True, "6m"),
    "mkfs.erofs": ("cache", True, "20m"),
    "the disk": ("cache", True, "56m"),
    "publishing": ("out", True, "8m"),
}


@pytest.mark.parametrize("point", FULL)
def test_a_full_disk_is_told_and_the_next_build_succeeds(project: Project, point: str) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this host gives no user namespaces to mount a small file system in")
    which, unpacked, size = FULL[point]
    project.share(unpacked=unpacked)
    full = project.root / which
    if which == "cache":
        full.rename(f"{full}.links")
    else:
        Path(f"{full}.links").mkdir()
    full.mkdir()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, "sh", size, str(full), *project.argv("--offline")],
        cwd=project.root, env=project.environment(), capture_output=True, text=True,
        timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    failed, _, after = done.stderr.partition("status 13\n")
    seen = subprocess.CompletedProcess(done.args, 13, "", failed)
    assert_one_error(seen, errors.HostError.exit_code, "error: .*no space left")
    assert "error" not in after
    assert f'"{NAME}"' in done.stdout
