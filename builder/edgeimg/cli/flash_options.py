"""Options of all commands that write an image to disks."""

from __future__ import annotations

from pathlib import Path

import click

from edgeimg.cli.app import App
from edgeimg.errors import ImageError
from edgeimg.image import blockmap
from edgeimg.release import sums, verify

image = click.argument("image", type=click.Path(path_type=Path, dir_okay=False))
key = click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Public key file: the image's SHA256SUMS must be signed with it.",
)
fixed = click.option("--fixed", is_flag=True, help="Also disks that are not removable.")
logs = click.option(
    "--logs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for one log per disk.",
)


def verify_image(app: App, image: Path, key: Path | None) -> None:
    """Check signature and digest of an image and its block map, as far as there are any.

    Raises ImageError, VerifyError.
    """
    if not image.is_file():
        raise ImageError(f"there is no image {image}", hint="`edgeimg build` makes one")
    if not blockmap.beside(image).is_file():
        raise ImageError(
            f"there is no block map {blockmap.beside(image)}",
            hint="it is published beside the image: get it as well",
        )
    if key is None and not (image.parent / sums.NAME).is_file():
        app.ui.note(f"{image.name} comes without {sums.NAME}: only its block map vouches for it")
        return
    with app.ui.step(f"verify {image.name}"):
        verified_release = verify.verify_release(image, key)
        verify.verify_release(blockmap.beside(image), key)
    if verified_release.signer is None:
        app.ui.note("without --key only digests are verified, not who made the image")
