"""Whole releases of a small project with a real key: held back, let through, killed, repeated.

Its image holds no system, so its boot fails within seconds and is allowed by name; a release that
boots is in tests/boot.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg import errors
from edgeimg.tools import Toolbox

from tests.integration.failing import Project, assert_one_error
from tests.integration.signing import gpg, gpg_home, make_key

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("downloads"),
    pytest.mark.skipif(
        not (shutil.which("gpg") and shutil.which("gpgv")), reason="no gpg: apt install gpg gpgv"
    ),
]

KILLS = int(os.environ.get("EDGEIMG_TEST_KILLS", "2"))
"""How often a release is killed; `EDGEIMG_TEST_KILLS=20` for a long look."""
NAME = "gateway_0.1.0_x86-64"
ALLOWED = ("--allow", "boot")
ONCE = (
    "edgeimg.lock.file.read_lock", "edgeimg.build.plan.plan_build", "edgeimg.build.overlays.read",
    "edgeimg.build.stages.compose", "edgeimg.compose.rootfs.compose",
    "edgeimg.pack.image.make_filesystems", "edgeimg.pack.image.make_disk",
)  # fmt: skip
"""What a release of one image does once."""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A GnuPG home with one key in it."""
    with gpg_home() as directory:
        make_key(directory)
        yield directory


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


@pytest.fixture(scope="module")
def first_release(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a release, which no test changes."""
    made = new_project(tmp_path_factory.mktemp("first") / "project")
    began = time.monotonic()
    done = made.run("release", *release(made, home, *ALLOWED))
    assert done.returncode == 0, done.stderr
    (made.cache / "seconds").write_text(str(time.monotonic() - began))
    return made


@pytest.fixture
def released(first_release: Project, tmp_path: Path) -> Project:
    """A project with a release, to be changed."""
    root = tmp_path / "project"
    shutil.copytree(first_release.root, root, symlinks=True)
    return first_release.elsewhere(root)


def new_project(root: Path) -> Project:
    made = Project(root)
    made.share()
    made.edit({"[budget]\n": '[release]\nurl = "https://example.org/gateway"\n\n[budget]\n'})
    commit(made.root)
    return made


def commit(root: Path) -> None:
    (root / ".gitignore").write_text("/out\n/cache\n/k3s\n")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all", "--allow-empty"]):
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def release(project: Project, home: Path, *arguments: str) -> list[str]:
    return [
        "--home", str(home), "--releases", str(project.output / "release"), "--deadline", "10",
        "--memory", "256", "--accel", "tcg", "--offline", *arguments,
    ]  # fmt: skip


def digests(directory: Path) -> dict[str, str]:
    """Of everything that must be the same each time."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.iterdir()
        if path.is_file() and path.suffix != ".gpg"
    }


def test_a_release_is_whole_signed_and_made_once(project: Project, home: Path) -> None:
    counts = project.root / "cache/counts"
    argv = project.argv(*release(project, home), command="release")
    argv[1:3] = ["-m", "tests.counting", str(counts), ",".join(ONCE)]
    held = subprocess.run(
        argv, cwd=project.root, env=project.environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert_one_error(held, errors.SmokeError.exit_code, r"held back.*\n  boot: x86-64: not true")
    assert not (project.output / "release/0.1.0").exists()
    assert held.stderr.count("x86-64: compose the root") == 1
    assert json.loads(counts.read_text()) == dict.fromkeys(ONCE, 1)

    done = project.run("release", *release(project, home, *ALLOWED, "--json"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    directory = Path(told["directory"])
    assert {hold["gate"] for hold in told["overrides"]} == {"boot"}
    assert {path.name for path in (project.output / "release").iterdir()} == {"0.1.0"}

    names = {path.name for path in directory.iterdir()}
    facts = json.loads((directory / "release.json").read_bytes())
    manifest = json.loads((directory / f"{NAME}.manifest.json").read_bytes())
    uuids = {part["name"]: part["uuid"] for part in manifest["disk"]["partitions"]}
    assert names == {
        f"{NAME}.raw.zst", f"{NAME}.bmap", f"{NAME}.manifest.json", f"{NAME}.cdx.json",
        f"{NAME}.spdx.json", f"{NAME}.efi", f"{NAME}_{uuids['root-a']}.root.xz",
        f"{NAME}_{uuids['root-a-verity']}.verity.xz", "gateway_0.1.0.intoto.json", "os_list.json",
        "release.json", "SHA256SUMS", "SHA256SUMS.gpg", "evidence", f"{NAME}.delta",
        f"{NAME}_{uuids['root-a']}.root.pieces",
        "SHA256SUMS.update", "SHA256SUMS.update.gpg",
    }  # fmt: skip
    assert {hold["gate"] for hold in facts["overrides"]} == {h["gate"] for h in told["overrides"]}
    listing = json.loads((directory / "os_list.json").read_bytes())["os_list"][0]
    assert listing["url"] == f"https://example.org/gateway/{NAME}.raw.zst"

    public = gpg(home, "--export")
    keyring = project.root / "cache" / "keyring.gpg"
    keyring.write_bytes(public)
    for place in (directory, directory / "evidence"):
        listed = {line[66:] for line in (place / "SHA256SUMS").read_text().splitlines()}
        files = {path.name for path in place.iterdir() if path.is_file()}
        assert {name for name in files - listed if not name.endswith(".gpg")} == {"SHA256SUMS"}
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=place, check=True)
        signed = {path.stem for path in place.glob("*.gpg")}
        assert signed == {"SHA256SUMS"} | {name for name in files if name.endswith(".update")}
        for name in signed:
            subprocess.run(
                ["gpgv", "--keyring", keyring, place / f"{name}.gpg", place / name],
                check=True, capture_output=True,
            )  # fmt: skip

    before = digests(directory)
    again = project.run("release", *release(project, home, *ALLOWED, "--json"))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["key"] is None
    assert digests(directory) == before


def test_update_files_are_the_partitions(
    first_release: Project, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    directory = first_release.output / "release/0.1.0"
    raw = tmp_path / "raw"
    toolbox("pack").run(
        "zstd", "-dq", "-o", str(raw), str(directory / f"{NAME}.raw.zst"), timeout=60
    )
    manifest = json.loads((directory / f"{NAME}.manifest.json").read_bytes())
    parts = {part["name"]: part for part in manifest["disk"]["partitions"]}
    update_sums = (directory / "SHA256SUMS.update").read_text()
    for partition, suffix, size in (
        ("root-a", "root", "root"),
        ("root-a-verity", "verity", "verity"),
    ):
        part = parts[partition]
        packed = directory / f"{NAME}_{part['uuid']}.{suffix}.xz"
        content = subprocess.run(["xz", "-dc", packed], check=True, capture_output=True).stdout
        with raw.open("rb") as disk:
            disk.seek(part["start"])
            assert disk.read(len(content)) == content
            assert not disk.read(part["size"] - len(content)).strip(b"\0")
        assert len(content) == manifest["sizes"][size]
        digest = hashlib.sha256(content).hexdigest()
        assert f"{digest}  {packed.name.removesuffix('.xz')}\n" in update_sums
    uki = (directory / f"{NAME}.efi").read_bytes()
    assert len(uki) == manifest["sizes"]["uki"]
    assert manifest["root_hash"].encode() in uki


def test_without_a_key_nothing_is_begun(project: Project, tmp_path: Path) -> None:
    (tmp_path / "nobody").mkdir(mode=0o700)
    done = project.run("release", *release(project, tmp_path / "nobody", *ALLOWED))
    assert_one_error(done, errors.SigningKeyError.exit_code, "no key to sign with")
    assert not (project.output / "release").exists()


def test_what_holds_a_release_back(project: Project, home: Path) -> None:
    (project.root / "overlays/ballast/usr/lib/ballast.d").mkdir()
    (project.root / "overlays/ballast/usr/lib/ballast.d/new").write_text("not committed")
    dirty = project.run("release", *release(project, home, *ALLOWED))
    assert_one_error(dirty, errors.ReleaseError.exit_code, r"ballast.d/new is not committed")
    commit(project.root)

    project.edit({'root = "256 MiB"': "root = 4096"})
    commit(project.root)
    large = project.run("release", *release(project, home, *ALLOWED))
    assert_one_error(large, errors.BudgetError.exit_code, "budget.root: .* more than the budget")

    let = project.run("release", *release(project, home, *ALLOWED, "--allow", "budget", "--json"))
    assert let.returncode == 0, let.stderr
    facts = json.loads((project.output / "release/0.1.0/release.json").read_bytes())
    assert "budget" in {hold["gate"] for hold in facts["overrides"]}
    assert_one_error(project.build(), errors.BudgetError.exit_code, "exceeds its budget")

    project.edit({"root = 4096": 'root = "256 MiB"'})
    commit(project.root)
    other = project.run("release", *release(project, home, *ALLOWED))
    assert_one_error(
        other, errors.ReleaseError.exit_code, "0.1.0 has been released from other inputs"
    )


def test_killed_at_random_it_ends_with_the_same_bytes(released: Project, home: Path) -> None:
    project, seed = released, time.time_ns()
    seconds = float((project.cache / "seconds").read_text())
    expected = digests(project.output / "release/0.1.0")
    chance = random.Random(seed)
    print(f"whole: {seconds:.0f} s, seed {seed}")

    for round_number in range(KILLS):
        shutil.rmtree(project.output)
        for path in (project.cache / "derived").iterdir():
            if not path.is_symlink():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        process = project.start(*release(project, home, *ALLOWED), command="release")
        try:
            process.wait(seconds * chance.random())
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate(timeout=60)
        directory = project.output / "release/0.1.0"
        if directory.exists():
            assert digests(directory) == expected
        finished = project.run("release", *release(project, home, *ALLOWED))
        assert finished.returncode == 0, (round_number, finished.stderr)
        assert digests(directory) == expected, round_number
        assert {path.name for path in directory.parent.iterdir()} == {"0.1.0"}


def test_another_clone_releases_the_same_bytes(
    project: Project, home: Path, tmp_path: Path
) -> None:
    project.edit({"[release]\n": '[release]\nallow = ["boot"]\n'})
    commit(project.root)
    assert project.run("release", *release(project, home)).returncode == 0
    clone = tmp_path / "elsewhere" / "of another name"
    clone.parent.mkdir()
    subprocess.run(["git", "clone", "-q", project.root, clone], check=True)
    shutil.copyfile(project.k3s, clone / "k3s")
    other = project.elsewhere(clone)
    other.share()
    other.env = {"TZ": "Pacific/Chatham", "LC_ALL": "C"}
    done = other.run("release", *release(other, home))
    assert done.returncode == 0, done.stderr
    assert digests(other.output / "release/0.1.0") == digests(project.output / "release/0.1.0")


def test_growth_is_told_from_the_release_before(released: Project, home: Path) -> None:
    project = released
    first = (project.output / "release/0.1.0/evidence/report.html").read_text()
    assert "since 0.1.0" not in first
    (project.root / "overlays/ballast/usr/lib/grown").write_bytes(os.urandom(100_000))
    project.edit({'version = "0.1.0"': 'version = "0.2.0"'})
    commit(project.root)
    done = project.run("release", *release(project, home, *ALLOWED))
    assert done.returncode == 0, done.stderr
    report = (project.output / "release/0.2.0/evidence/report.html").read_text()
    assert "since 0.1.0" in report
    assert "usr/lib/grown" in report


def test_verify_accepts_it_and_rebuilds_it(released: Project, home: Path) -> None:
    project = released
    directory = project.output / "release/0.1.0"
    key = project.root / "cache/key.asc"
    key.write_bytes(gpg(home, "--armor", "--export"))
    verify = [str(directory), "--key", str(key)]
    fine = project.run("verify", *verify)
    assert fine.returncode == 0, fine.stderr
    same = project.run("verify", *verify, "--rebuild", "--k3s", str(project.k3s))
    assert same.returncode == 0, same.stderr
    ballast = project.root / "overlays/ballast/usr/lib/ballast"
    ballast.write_bytes(ballast.read_bytes()[:-1] + b"?")
    differs = project.run("verify", *verify, "--rebuild", "--k3s", str(project.k3s))
    assert_one_error(differs, errors.VerifyError.exit_code, "usr/lib/ballast")
