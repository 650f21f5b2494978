"""Options of the commands that sign settings."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from edgeimg.cli.app import Command
from edgeimg.errors import ProvisionError
from edgeimg.provision.signing import Signing
from edgeimg.recipe.file import RecipeFile
from edgeimg.trust import keys


def signing(function: Command) -> Command:
    """Give a command the options for signing; it receives a Signing or None as `signing`."""

    @click.option(
        "--sign",
        metavar="KEY",
        envvar="EDGEIMG_SIGN",
        show_envvar=True,
        help="Sign the settings with this key of gpg's: a fingerprint or a user id.",
    )
    @click.option(
        "--sign-home",
        envvar="EDGEIMG_SIGN_HOME",
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="GnuPG's home directory, when it is not yours.",
    )
    @click.option(
        "--sign-passphrase-file",
        envvar="EDGEIMG_SIGN_PASSPHRASE_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Read the key's passphrase from a file.",
    )
    @click.option(
        "--set-serial",
        type=int,
        metavar="N",
        help="Number of the signed set: gateways refuse one that is lower than that of the "
        "settings in use.  [default: seconds since 1970]",
    )
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        sign: str | None,
        sign_home: Path | None,
        sign_passphrase_file: Path | None,
        set_serial: int | None,
        **kwargs: Any,
    ) -> Any:
        if sign is None:
            if set_serial is not None:
                raise click.UsageError("--set-serial is for signed settings: add --sign KEY")
            return function(*args, signing=None, **kwargs)
        identity = Signing(
            key=keys.find(sign, home=sign_home),
            passphrase_file=sign_passphrase_file,
            serial=set_serial,
        )
        return function(*args, signing=identity, **kwargs)

    return wrapper


def public_key(source: RecipeFile) -> Path | None:
    """The key of [provision] in the recipe, if there is one."""
    key = source.recipe.provision.key
    return source.locate(key) if key else None


def require(signing: Signing | None, *, signed: bool, title: str) -> None:
    """Raises ProvisionError when an image takes signed settings only and nobody signs, or the
    other way round."""
    if signed and signing is None:
        raise ProvisionError(
            f"{title} takes signed settings only",
            hint="sign them: --sign KEY, with the secret key of the recipe's [provision] key",
        )
    if signing is not None and not signed:
        raise ProvisionError(
            f"{title} takes no signed settings: its recipe has no [provision] key",
            hint="leave out --sign; or name the public key in the recipe, and build again",
        )
