"""A small real release, signed by a real key: any byte of it that was changed is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from edgeimg import fetch
from edgeimg.cache.store import Store
from edgeimg.errors import VerifyError
from edgeimg.fetch import mirrors
from edgeimg.lock.model import Lock
from edgeimg.release import assemble
from edgeimg.release.verify import verify_release
from edgeimg.tools import Toolbox
from edgeimg.trust import keys, openpgp, signatures
from edgeimg.trust.keys import Key

from tests.integration.failing import Project
from tests.integration.signing import gpg_home, make_key

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (shutil.which("gpg") and shutil.which("gpgv")), reason="no gpg: apt install gpg gpgv"
    ),
]

PLACES = int(os.environ.get("EDGEIMG_TEST_PLACES", "200"))
"""How many places of a release are changed, one at a time."""
NAME = "gateway_0.1.0_x86-64"


@dataclass(frozen=True)
class Made:
    """A release nobody changes; tests take copies."""

    directory: Path
    project: Project
    key: Key
    public: Path

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.directory, target)
        return target

    def sign(self, directory: Path) -> None:
        """As its maker would, after a change."""
        signatures.sign(assemble.sums(directory), self.key)


@pytest.fixture(scope="module")
def release(
    tmp_path_factory: pytest.TempPathFactory,
    cache: Store,
    default_lock: Lock,
    toolbox: Callable[[str], Toolbox],
) -> Iterator[Made]:
    """Of an image that holds no system, so its boot fails within seconds and is allowed."""
    toolbox("pack")
    toolbox("qemu")
    packages = default_lock.images["x86-64"].packages()
    fetch.fetch(
        fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
    )
    root = tmp_path_factory.mktemp("release")
    project = Project(root / "project")
    project.share()
    with gpg_home() as home:
        key = make_key(home)
        done = project.run(
            "release", "--home", str(home), "--releases", str(root / "releases"), "--offline",
            "--memory", "256", "--accel", "tcg", "--deadline", "10",
            "--allow", "boot", "--allow", "dirty-overlay", "--allow", "checks",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        public = root / "releases.asc"
        public.write_bytes(keys.export(key))
        yield Made(root / "releases/0.1.0", project, key, public)


def cli(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "verify"]
    return subprocess.run(
        [*program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_it_is_accepted_whole_and_file_by_file(release: Made, tmp_path: Path) -> None:
    done = cli(release.directory, "--key", release.public, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["signer"]["fingerprint"] == release.key.fingerprint
    assert told["version"] == "0.1.0"
    assert any(override.startswith("boot: ") for override in told["overrides"])
    files = [path for path in release.directory.rglob("*") if path.is_file()]
    assert told["files"] == len([path for path in files if path.suffix != ".gpg"]) - 2
    for path in files:
        assert verify_release(path, release.public).signer is not None
    shown = cli(release.directory, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "name the public key with --key" in " ".join(shown.stdout.split())


def test_the_recipe_names_the_key(release: Made) -> None:
    project = release.project.root
    (project / "keys").mkdir()
    shutil.copyfile(release.public, project / "keys/releases.asc")
    recipe = project / "recipes/signed.toml"
    text = (project / "recipes/gateway.toml").read_text()
    recipe.write_text(text + '\n[release]\nkey = "keys/releases.asc"\n')
    done = cli(release.directory, "--recipe", recipe, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signer"]["fingerprint"] == release.key.fingerprint
    (project / "keys/releases.asc").unlink()
    missing = cli(release.directory, "--recipe", recipe, cwd=project)
    assert missing.returncode == VerifyError.exit_code
    assert "there is no public key" in missing.stderr


def test_one_changed_byte_anywhere_is_refused(release: Made, tmp_path: Path) -> None:
    """Places in every file that has bytes, and more in the longer ones.

    A console log is empty when its guest was ended before it wrote.
    """
    copy = release.copy(tmp_path / "copy")
    verify_release(copy, release.public)
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    sizes = [path.stat().st_size for path in files]
    chosen = files + chance.choices(files, [size**0.5 for size in sizes], k=PLACES - len(files))
    assert len(chosen) >= PLACES
    for path in chosen:
        at = chance.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            file.seek(at)
            (before,) = file.read(1)
            file.seek(at)
            file.write(bytes((before ^ chance.randrange(1, 256),)))
        with pytest.raises(VerifyError):
            verify_release(copy, release.public)
            pytest.fail(f"{path.relative_to(copy)}: byte {at} (seed {seed})")
        with pytest.raises(VerifyError):
            verify_release(path, release.public)
            pytest.fail(f"{path.relative_to(copy)} by itself: byte {at} (seed {seed})")
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes((before,)))
    verify_release(copy, release.public)


def test_each_byte_of_a_signature_counts(release: Made) -> None:
    sums = (release.directory / "SHA256SUMS").read_bytes()
    data = (release.directory / "SHA256SUMS.gpg").read_bytes()
    for at in range(len(data)):
        for mask in (0x01, 0x80):
            changed = bytearray(data)
            changed[at] ^= mask
            with pytest.raises(VerifyError):
                signatures.verify(sums, bytes(changed), release.public)
                pytest.fail(f"byte {at} ^ {mask}")


def test_forms_that_gpgv_lets_pass_are_refused(release: Made, tmp_path: Path) -> None:
    """The same signature in other bytes: this is why the form is looked at."""
    sums = release.directory / "SHA256SUMS"
    data = (release.directory / "SHA256SUMS.gpg").read_bytes()
    found = openpgp.signature(data, sums.read_bytes())
    keyring = tmp_path / "key.gpg"
    keyring.write_bytes(signatures.public_keys(release.public))
    forms = {
        "long header": b"\x89\0" + data[1:],
        "new header": b"\xc2" + data[1:],
        "notation": replace(found, unhashed=found.unhashed + b"\x02\x64x").encode(),
        "nothing unhashed": replace(found, unhashed=b"").encode(),
    }
    for name, form in forms.items():
        path = tmp_path / "form.gpg"
        path.write_bytes(form)
        subprocess.run(["gpgv", "--keyring", keyring, path, sums], check=True, capture_output=True)
        with pytest.raises(VerifyError, match="refused"):
            signatures.verify(sums.read_bytes(), form, release.public)
            pytest.fail(name)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


def _unlisted(copy: Path) -> None:
    (copy / "new").touch()


def _unlisted_evidence(copy: Path) -> None:
    (copy / "evidence/new").touch()


def _missing(copy: Path) -> None:
    (copy / f"{NAME}.bmap").unlink()


def _missing_evidence(copy: Path) -> None:
    shutil.rmtree(copy / "evidence")


def _missing_report(copy: Path) -> None:
    (copy / "evidence/report.html").unlink()


def _unsigned(copy: Path) -> None:
    (copy / "SHA256SUMS.gpg").unlink()


def _unsigned_updates(copy: Path) -> None:
    (copy / "SHA256SUMS.update.gpg").unlink()


def _unsigned_evidence(copy: Path) -> None:
    (copy / "evidence/SHA256SUMS.gpg").unlink()


def _directory(copy: Path) -> None:
    (copy / "more").mkdir()


def _link(copy: Path) -> None:
    (copy / "os_list.json").rename(copy.parent / "os_list.json")
    (copy / "os_list.json").symlink_to(copy.parent / "os_list.json")


def _linked_evidence(copy: Path) -> None:
    (copy / "evidence").rename(copy.parent / "evidence")
    (copy / "evidence").symlink_to(copy.parent / "evidence")


def _renamed(copy: Path) -> None:
    (copy / f"{NAME}.bmap").rename(copy / "gateway_0.2.0_x86-64.bmap")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_unlisted, "new is not listed"),
        (_unlisted_evidence, "evidence/new is not listed"),
        (_missing, "bmap is missing"),
        (_missing_evidence, "evidence/ is missing"),
        (_missing_report, "evidence/report.html is missing"),
        (_unsigned, "is not signed"),
        (_unsigned_evidence, "evidence is not signed"),
        (_unsigned_updates, r"there is no SHA256SUMS\.update\.gpg"),
        (_directory, "more is not listed"),
        (_link, "os_list.json is not a regular file"),
        (_linked_evidence, "evidence/ is missing"),
        (_renamed, r"gateway_0.2.0_x86-64.bmap is not listed(.|\n)*bmap is missing"),
    ],
)
def test_added_missing_and_moved_files_are_refused(
    release: Made, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    copy = release.copy(tmp_path / "copy")
    harm(copy)
    with pytest.raises(VerifyError, match=reason):
        verify_release(copy, release.public)


def test_a_release_signed_by_somebody_else_is_refused(release: Made, tmp_path: Path) -> None:
    with gpg_home() as home:
        other = make_key(home, "Somebody")
        public = tmp_path / "other.asc"
        public.write_bytes(keys.export(other))
        with pytest.raises(VerifyError, match="made with another key"):
            verify_release(release.directory, public)
        both = tmp_path / "both.asc"
        both.write_bytes(public.read_bytes() + release.public.read_bytes())
        verify_release(release.directory, both)
        copy = release.copy(tmp_path / "copy")
        signatures.sign(assemble.sums(copy / "evidence"), other)
        with pytest.raises(VerifyError, match="evidence/ was signed by Somebody"):
            verify_release(copy, both)
        copy = release.copy(tmp_path / "updates")
        signatures.sign(copy / "SHA256SUMS.update", other)
        for path in (copy, copy / "SHA256SUMS.update.gpg"):
            with pytest.raises(VerifyError, match=r"SHA256SUMS\.update was signed by Somebody"):
                verify_release(path, both)


def test_update_files_of_another_version_are_refused(release: Made, tmp_path: Path) -> None:
    copy = release.copy(tmp_path / "copy")
    index = copy / f"{NAME}.delta"
    index.write_text(index.read_text().replace(".root ", ".toor ", 1))
    release.sign(copy)
    with pytest.raises(VerifyError, match=r"SHA256SUMS\.update disagrees about .*\.toor"):
        verify_release(copy, release.public)


LIES: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "another version": (
        f"{NAME}.manifest.json",
        lambda data: data.update(image={**data["image"], "version": "9"}),
        "is about gateway_9_x86-64",
    ),
    "another root": (
        f"{NAME}.manifest.json",
        lambda data: data.update(root_hash="0" * 64),
        "not named after its root hash",
    ),
    "another K3s": (
        "release.json",
        lambda data: data["images"][0]["k3s"].update(standin=True, version="v9"),
        "release.json and .* disagree",
    ),
    "an image less": (
        "release.json",
        lambda data: data.update(images=[]),
        "does not list the image",
    ),
    "a file less": (
        "release.json",
        lambda data: data["files"].pop(),
        "release.json disagrees about os_list.json",
    ),
    "another origin": (
        "gateway_0.1.0.intoto.json",
        lambda data: data["subject"][0]["digest"].update(sha256="0" * 64),
        "intoto.json disagrees about",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_files_that_contradict_each_other_are_refused_although_signed(
    release: Made, tmp_path: Path, lie: str
) -> None:
    name, change, reason = LIES[lie]
    copy = release.copy(tmp_path / "copy")
    edit(copy / name, change)
    release.sign(copy)
    with pytest.raises(VerifyError, match=reason):
        verify_release(copy, release.public)


def test_evidence_of_another_image_is_refused_although_signed(
    release: Made, tmp_path: Path
) -> None:
    copy = release.copy(tmp_path / "copy")
    edit(copy / f"evidence/{NAME}.smoke.json", lambda data: data.update(image_sha256="0" * 64))
    release.sign(copy / "evidence")
    with pytest.raises(VerifyError, match="another image was booted"):
        verify_release(copy, release.public)
    (copy / f"evidence/{NAME}.smoke.json").unlink()
    release.sign(copy / "evidence")
    with pytest.raises(VerifyError, match="was not booted"):
        verify_release(copy, release.public)


def test_a_refusal_is_one_clear_error(release: Made, tmp_path: Path) -> None:
    copy = release.copy(tmp_path / "copy")
    with (copy / f"{NAME}.raw.zst").open("ab") as file:
        file.write(b"\0")
    (copy / "new").touch()
    expected = hashlib.sha256((release.directory / f"{NAME}.raw.zst").read_bytes()).hexdigest()
    done = cli(copy, "--key", release.public, "--json", cwd=tmp_path)
    assert done.returncode == VerifyError.exit_code
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == VerifyError.exit_code
    assert "2 things are wrong" in error["message"]
    assert f"{NAME}.raw.zst was changed" in error["message"]
    assert expected in error["message"]
    assert "new is not listed" in error["message"]
    assert "Traceback" not in done.stderr
    wrong = cli(copy / f"{NAME}.raw.zst", "--key", release.public, cwd=tmp_path)
    assert wrong.returncode == VerifyError.exit_code
    assert wrong.stderr.count(f"{NAME}.raw.zst was changed") == 1
    assert f"{NAME}.raw.zst:" not in wrong.stderr  # named once
