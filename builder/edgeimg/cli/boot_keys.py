"""The keys of Secure Boot: made, rotated, and edgeimg revoke."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from edgeimg.cli import options
from edgeimg.cli.app import App, with_app
from edgeimg.errors import EdgeimgError, ImageError, RecipeError, SigningKeyError, VerifyError
from edgeimg.pack import boot_files
from edgeimg.recipe.file import RecipeFile
from edgeimg.release import boot_signing
from edgeimg.trust import pkcs11, rotation, secure_boot
from edgeimg.trust.boot_keys import BootKeys, KeyDirectory


class KeysPlace(click.Path):
    """The directory with the private keys, or the URI of a PKCS #11 token: gives BootKeys.

    A PIN is asked for at once, before anything else is shown.
    """

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(path_type=Path, file_okay=False, exists=exists)
        self.name = "directory|pkcs11:uri"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises SigningKeyError for a URI that is not understood."""
        if isinstance(value, str) and value.startswith(pkcs11.SCHEME):
            return pkcs11.parse(value, _ask_pin)
        path = super().convert(value, param, ctx)
        return KeyDirectory(Path(os.fsdecode(path)))


def _ask_pin(question: str) -> str:
    if not sys.stdin.isatty():
        raise SigningKeyError(
            "there is no terminal to ask for the PIN",
            hint="put it into a file of mode 600, and add pin-source=FILE to the URI",
        )
    return str(click.prompt(question, hide_input=True, err=True))


@click.command(
    epilog="Examples: edgeimg revoke 1.4.2 --secure-boot-key ~/boot-keys    "
    "edgeimg revoke old/gateway_1.4.2_arm64.efi --secure-boot-key ~/boot-keys"
)
@click.argument("versions", metavar="VERSION|DIRECTORY|FILE...", nargs=-1, required=True)
@click.option(
    "--secure-boot-key",
    "home",
    required=True,
    type=KeysPlace(exists=True),
    help="The keys, which `genkey --secure-boot` made; the KEK is used.",
)
@options.releases
@options.recipe
@with_app
def revoke(
    app: App, *, source: RecipeFile, versions: Sequence[str], home: BootKeys, releases: Path
) -> None:
    """Revoke the UKIs of releases.

    Firmware that takes the list never starts them again. Adds their digests to dbx.auth in the
    directory that [trust] secure_boot names, signed by the KEK. Later images enroll the list;
    gateways in the field take it by hand. There is no way to take a digest back. Exits with 17 when
    the KEK cannot be used.
    """
    public = boot_signing.public_keys(source)
    if public is None:
        raise RecipeError(
            f"{source.path} names no certificates of Secure Boot",
            hint='name them: [trust] secure_boot = "keys/secure-boot"',
        )
    files = [file for version in versions for file in _ukis(version, releases)]
    digests = {str(file): _digest(file) for file in files}
    revoked = rotation.revoke(home, public, digests.values(), epoch=now())
    data = {
        "revoked": [
            {"file": file, "sha256": digest.hex(), "added": digest in revoked.added}
            for file, digest in digests.items()
        ],
        "total": revoked.total,
        "list": str(public / secure_boot.REVOKED),
    }

    def show(console: Console) -> None:
        for file, digest in digests.items():
            done = "revoked" if digest in revoked.added else "revoked before"
            console.print(Text(f"{done}: {file}\n  {digest.hex()}"), soft_wrap=True)
        console.print(
            Text(f"{public / secure_boot.REVOKED}: {revoked.total} UKIs. Commit it."),
            soft_wrap=True,
        )

    app.result(data, show)


def make(app: App, home: BootKeys, exported: Path | None, name: str) -> None:
    """Make the three keys."""
    public = exported or secure_boot.DIRECTORY
    with app.ui.step("make the keys of Secure Boot"):
        certificates = secure_boot.generate(home, public, name=name, epoch=now())
    fingerprints = {
        variable: certificate.fingerprint for variable, certificate in certificates.items()
    }
    data = {"fingerprints": fingerprints, "directory": str(home), "export": str(public)}
    app.result(data, lambda console: _show(console, fingerprints, home, public))


def rotate(app: App, home: BootKeys, old: Path, exported: Path, name: str) -> None:
    """Make a new key of db."""
    with app.ui.step("make a new key of db"):
        rotated = rotation.rotate(home, old, exported, name=name, epoch=now())
    fingerprints = {"db": rotated.certificate.fingerprint}
    data = {
        "fingerprints": fingerprints, "directory": str(home), "export": str(exported),
        "key": rotated.key,
    }  # fmt: skip
    app.result(data, lambda console: _show(console, fingerprints, home, exported))


def now() -> int:
    """The time of variables, in seconds."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def _ukis(version: str, releases: Path) -> list[Path]:
    """The UKIs of a release, by its version or directory, or the one that is named."""
    path = Path(version)
    if not path.exists() and (releases / version).is_dir():
        path = releases / version
    if not path.exists():
        raise VerifyError(f"there is no file {path}, and no release {releases / version}")
    found = sorted(path.glob("*.efi")) if path.is_dir() else [path]
    if not found:
        raise VerifyError(f"{path} has no UKI", hint="name a release, or a file NAME.efi")
    return found


def _digest(file: Path) -> bytes:
    try:
        return rotation.digest(boot_files.program(file))
    except (ImageError, VerifyError) as error:
        problem: type[EdgeimgError] = type(error)
        raise problem(f"{file}: {error.message}", hint=error.hint) from error


def _show(console: Console, fingerprints: Mapping[str, str], home: BootKeys, public: Path) -> None:
    for variable, fingerprint in fingerprints.items():
        console.print(Text(f"{variable:4}{fingerprint}", style="bold"), soft_wrap=True)
    console.print(Text(f"certificates and variables: {public}"), soft_wrap=True)
    copies = (
        f"Keep a backup of {home}"
        if isinstance(home, KeyDirectory)
        else f"edgeimg cannot copy keys out of {home}: see whether the token can back them up"
    )
    console.print(
        Text(f"{copies}. Gateways that know these keys start nothing else."), soft_wrap=True
    )


COMMANDS: tuple[click.Command, ...] = (revoke,)
