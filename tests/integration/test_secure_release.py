"""A small real release with Secure Boot: held back, signed, verified, built again without a key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg import fetch
from edgeimg.cache.store import Store
from edgeimg.errors import ReleaseError
from edgeimg.fetch import mirrors
from edgeimg.lock.model import Lock
from edgeimg.tools import Toolbox
from edgeimg.trust import authenticode, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory

from tests.integration.failing import Project
from tests.integration.signing import gpg_home, make_key

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (shutil.which("gpg") and shutil.which("gpgv")), reason="no gpg: apt install gpg gpgv"
    ),
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: apt install openssl"),
]

NAME = "gateway_0.1.0_x86-64"


ASKED = "EDGEIMG_TEST_SECURE_BOOT"


@pytest.fixture
def project(
    tmp_path: Path, cache: Store, default_lock: Lock, toolbox: Callable[[str], Toolbox]
) -> Project:
    """A project whose recipe names certificates; their private keys are in `private` beside it."""
    toolbox("pack")
    toolbox("qemu")
    packages = default_lock.images["x86-64"].packages()
    fetch.fetch(
        fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
    )
    project = Project(tmp_path / "project")
    project.share()
    public = project.root / "keys/secure-boot"
    secure_boot.generate(
        KeyDirectory(tmp_path / "private"), public, name="Example Ltd", epoch=1767225600
    )
    with project.recipe.open("a") as recipe:
        recipe.write('\n[trust]\nsecure_boot = "keys/secure-boot"\n')
    return project


def release(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    with gpg_home() as gnupg:
        make_key(gnupg)
        return project.run(
            "release", "--home", str(gnupg), "--releases", "releases", "--offline",
            "--memory", "256", "--accel", "tcg", "--deadline", "10",
            "--allow", "boot", "--allow", "dirty-overlay", "--allow", "checks", *arguments,
        )  # fmt: skip


def test_a_release_without_the_key_is_held_back_before_it_is_built(project: Project) -> None:
    held = release(project)
    assert held.returncode == ReleaseError.exit_code, held.stderr
    assert "unsigned-boot: x86-64: " in held.stderr
    assert not list(project.root.rglob("*.raw.zst"))


@pytest.mark.skipif(os.environ.get(ASKED) != "1", reason=f"asked for with {ASKED}=1")
def test_a_release_is_signed_verified_and_built_again(project: Project) -> None:
    home, public = project.root.parent / "private", project.root / "keys/secure-boot"
    done = release(project, "--secure-boot-key", str(home), "--json")
    assert done.returncode == 0, done.stderr
    directory = project.root / json.loads(done.stdout)["directory"]
    uki = (directory / f"{NAME}.efi").read_bytes()
    certificate = secure_boot.certificate(public)
    assert authenticode.verify(uki, [certificate]) == certificate
    manifest = json.loads((directory / f"{NAME}.manifest.json").read_text())
    assert manifest["secure_boot"] == certificate.fingerprint
    shutil.rmtree(home)
    again = project.run("verify", str(directory), "--json", "--rebuild", "--k3s", str(project.k3s))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["secure_boot"] == 1
