"""edgeimg release, diff."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgeimg.arch import Arch
from edgeimg.build.options import BuildOptions, ReleaseOptions, SmokeOptions
from edgeimg.cli import options, render
from edgeimg.cli.app import App, with_app
from edgeimg.cli.boot_keys import KeysPlace
from edgeimg.cli.guests import accel, cpus, deadline, guest_options, memory
from edgeimg.fetch import shared_cache
from edgeimg.inspect.diff import compare, read_manifest
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.types import Gate
from edgeimg.release import make
from edgeimg.release.gates import GATES
from edgeimg.trust.boot_keys import BootKeys
from edgeimg.vm.argv import GuestOptions


@click.command(
    epilog="Example: edgeimg release --key releases@example.org --previous out/release/1.4"
)
@options.archs(default="all")
@options.recipe
@options.build
@options.releases
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(GATES),
    help="Gate that may fail without holding the release back; recorded in the release. May be "
    "repeated; adds to [release] allow of the recipe.",
)
@click.option("--key", metavar="KEY", help="Sign with this key: a fingerprint or a user id.")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="GnuPG's home directory, when it is not yours.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Read the key's passphrase from a file.",
)
@click.option(
    "--secure-boot-key",
    "boot_keys",
    type=KeysPlace(exists=True),
    help="Sign boot loader and UKI with the key of db there, which `genkey --secure-boot` made.",
)
@click.option(
    "--previous",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Release to compare sizes with.  [default: the latest one]",
)
@click.option(
    "--reports",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write findings.sarif, code-quality.json (GitLab) and smoke.junit.xml there, as "
    "soon as they are known: of a release that is held back too.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=lambda: min(3, os.cpu_count() or 1),
    help="How many guests may boot at once.  [default: one per processor, at most 3]",
)
@guest_options(memory, cpus, accel, deadline)
@with_app
def release(
    app: App,
    *,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    build_options: BuildOptions,
    releases: Path,
    allow: tuple[Gate, ...],
    key: str | None,
    home: Path | None,
    passphrase_file: Path | None,
    boot_keys: BootKeys | None,
    previous: Path | None,
    reports: Path | None,
    jobs: int,
    guest: GuestOptions,
) -> None:
    """Build, check, boot, sign and publish a version.

    A release is held back by a stand-in K3s, an unsigned package index, inputs that are not
    committed, unsigned boot files, an exceeded budget, a finding, or a boot that failed. Exits
    with 15, 10, 11 or 12.
    If anything fails, nothing is published. A second run continues where the first one stopped.
    """
    boots = SmokeOptions(
        output=build_options.output,
        guest=guest,
        jobs=jobs,
        again=False,
        junit=None if reports is None else reports / "smoke.junit.xml",
    )
    release_options = ReleaseOptions(
        build=build_options,
        guest=boots,
        directory=releases,
        allow=frozenset(allow),
        key=key,
        home=home,
        passphrase_file=passphrase_file,
        boot_keys=boot_keys,
        previous=previous,
        reports=reports,
    )
    with shared_cache.opened(app.ui) as cache:
        released = make.release(
            source, archs, release_options, store=app.store, ui=app.ui, cache=cache
        )
    app.result(released.to_json(), lambda console: render.release(console, released))


@click.command(
    epilog="Example: edgeimg diff out/release/1.4/gateway_1.4_arm64.manifest.json "
    "out/gateway_1.5_arm64/gateway_1.5_arm64.manifest.json"
)
@click.argument("old", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("new", type=click.Path(path_type=Path, dir_okay=False))
@with_app
def diff(app: App, *, old: Path, new: Path) -> None:
    """List what changed between two images.

    Packages, files, sizes, K3s, services, kernel configuration.

    OLD and NEW are manifests, or images that have theirs beside them.
    """
    difference = compare(read_manifest(old), read_manifest(new))
    app.result(difference.to_json(), lambda console: render.diff(console, difference))


COMMANDS: tuple[click.Command, ...] = (release, diff)
