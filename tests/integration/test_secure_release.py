"""A small real release with Secure Boot: held back, signed, verified, built again without a key."""

from __future__ import annotations

import json
import os
import shutil
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


def test_a_release_is_held_back_signed_verified_and_built_again(
    tmp_path: Path, cache: Store, default_lock: Lock, toolbox: Callable[[str], Toolbox]
) -> None:
    toolbox("pack")
    toolbox("qemu")
    packages = default_lock.images["x86-64"].packages()
    fetch.fetch(
        fetch.package_downloads(packages, mirrors.from_host(os.environ)), cache, offline=False
    )
    project, home = Project(tmp_path / "project"), tmp_path / "private"
    project.share()
    public = project.root / "keys/secure-boot"
    secure_boot.generate(home, public, name="Example Ltd", epoch=1767225600)
    with project.recipe.open("a") as recipe:
        recipe.write('\n[trust]\nsecure_boot = "keys/secure-boot"\n')
    directory = tmp_path / "releases/0.1.0"
    with gpg_home() as gnupg:
        make_key(gnupg)
        arguments = [
            "release", "--home", str(gnupg), "--releases", str(directory.parent), "--offline",
            "--memory", "256", "--accel", "tcg", "--deadline", "10",
            "--allow", "boot", "--allow", "dirty-overlay", "--allow", "checks",
        ]  # fmt: skip
        held = project.run(*arguments)
        assert held.returncode == ReleaseError.exit_code, held.stderr
        assert f"unsigned-boot: x86-64: EFI/Linux/{NAME[:13]}+3.efi" in held.stderr
        assert not directory.exists()
        done = project.run(*arguments, "--secure-boot-key", str(home))
        assert done.returncode == 0, done.stderr
    uki = (directory / f"{NAME}.efi").read_bytes()
    certificate = secure_boot.certificate(public)
    assert authenticode.verify(uki, [certificate]) == certificate
    manifest = json.loads((directory / f"{NAME}.manifest.json").read_text())
    assert manifest["secure_boot"] == certificate.fingerprint
    shutil.rmtree(home)
    again = project.run("verify", str(directory), "--json", "--rebuild", "--k3s", str(project.k3s))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["secure_boot"] == 1
