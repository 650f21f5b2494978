"""edgeimg build, check, inspect."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from edgeimg.arch import Arch
from edgeimg.build import pipeline
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import plan_builds
from edgeimg.check import size
from edgeimg.check.findings import refuse
from edgeimg.cli import options, render
from edgeimg.cli.app import App, with_app
from edgeimg.fetch import shared_cache
from edgeimg.recipe.file import RecipeFile


@click.command(epilog="Example: edgeimg build --arch arm64 --arch armv7")
@options.archs()
@options.board
@options.recipe
@options.build
@with_app
def build(
    app: App, *, source: RecipeFile, archs: tuple[Arch, ...], build_options: BuildOptions
) -> None:
    """Build images: one directory per architecture below --output.

    Inputs come from the recipe's lock and are fetched once. A build whose inputs did not
    change does nothing.
    """
    plans = plan_builds(source, archs, build_options)
    with shared_cache.opened(app.ui) as cache:
        built = [pipeline.build(plan, store=app.store, ui=app.ui, cache=cache) for plan in plans]
    data = {"images": [image.to_json() for image in built]}
    app.result(data, lambda console: render.images(console, built))


@click.command(epilog="Example: edgeimg check --arch all")
@options.archs()
@options.board
@options.recipe
@options.build
@click.option(
    "--sarif",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the findings as SARIF 2.1.0, for code hosts.",
)
@with_app
def check(
    app: App,
    *,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    build_options: BuildOptions,
    sarif: Path | None,
) -> None:
    """Check images: programs, rights, secrets, kernel, units, sizes.

    Reports all findings at once and publishes nothing. Intended findings can be accepted in the
    recipe ([check] accept). Exits with 11 if there is an error, with 10 if only a budget is
    exceeded. Warnings are shown.
    """
    plans = plan_builds(source, archs, build_options)
    reports = [pipeline.check(plan, store=app.store, ui=app.ui) for plan in plans]
    data = {"reports": [report.to_json() for report in reports]}
    app.result(data, lambda console: render.checks(console, reports))
    if sarif is not None:
        pipeline.write_sarif(source, reports, sarif)
    findings = [finding for report in reports for finding in report.findings]
    refuse(finding for finding in findings if finding.check != "size")
    size.refuse(findings)


@click.command(
    name="inspect",
    epilog="Example: edgeimg inspect out/gateway_0.1.0_arm64/gateway_0.1.0_arm64.raw.zst",
)
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@options.recipe
@with_app
def inspect_command(app: App, *, image: Path, source: RecipeFile) -> None:
    """Print the contents of an image file.

    Partitions, versions, packages, K3s, root hash.

    Everything is read from the image itself (.raw or .raw.zst).
    """
    inspection = pipeline.inspect(image, source, store=app.store, ui=app.ui)

    def show(console: Console) -> None:
        render.inspection(console, inspection)

    app.result(inspection.to_json(), show)


COMMANDS: tuple[click.Command, ...] = (build, check, inspect_command)
