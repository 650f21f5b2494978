"""edgeimg sbom, cve: the bill of materials of an image, and its known vulnerabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg.arch import Arch
from edgeimg.build import pipeline
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import plan_builds
from edgeimg.cache.store import write_whole
from edgeimg.cli import options, render
from edgeimg.cli.app import App, with_app
from edgeimg.cve import subjects
from edgeimg.cve.cve import judge
from edgeimg.errors import CheckError
from edgeimg.recipe.file import RecipeFile
from edgeimg.sbom import cyclonedx, spdx

SUFFIXES = {"cyclonedx": ".cdx.json", "spdx": ".spdx.json"}


@click.command(epilog="Example: edgeimg sbom --arch arm64 -o gateway.cdx.json")
@options.archs()
@options.board
@options.recipe
@options.k3s
@options.offline
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(SUFFIXES)),
    default="cyclonedx",
    show_default=True,
    help="CycloneDX 1.6 or SPDX 2.3, both as JSON.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write it there instead of to stdout; a directory for several architectures.",
)
@with_app
def sbom(
    app: App,
    *,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    k3s: K3sChoice | None,
    offline: bool,
    kind: str,
    output: Path | None,
) -> None:
    """List the contents of an image: its software bill of materials.

    Debian packages with licence and source, K3s, every Go module in every Go program, kernel,
    boot loader, container images, and the files of overlays. Everything is composed for it, but
    nothing is packed.
    """
    if len(archs) > 1 and (output is None or output.is_file()):
        raise click.UsageError("several architectures need --output DIRECTORY")
    build_options = BuildOptions(output=Path("out"), k3s=k3s, offline=offline)
    encode = {"cyclonedx": cyclonedx, "spdx": spdx}[kind]
    documents: list[dict[str, object]] = []
    for plan in plan_builds(source, archs, build_options):
        described = pipeline.sbom(plan, store=app.store, ui=app.ui)
        document = encode(described)
        facts: dict[str, object] = {
            "arch": plan.arch.name,
            "name": described.name,
            "format": kind,
            "standin": described.standin,
            "components": len(described.components),
        }
        if output is None:
            documents.append({**facts, "document": json.loads(document)})
            if not app.as_json:
                click.echo(document, nl=False)
        else:
            several = len(archs) > 1 or output.is_dir()
            path = output / f"{described.name}{SUFFIXES[kind]}" if several else output
            write_whole(path, document)
            documents.append({**facts, "file": str(path)})
    app.result({"sboms": documents}, lambda console: _show_written(console, documents))


@click.command(
    epilog="Examples: edgeimg cve tracker.json --arch all"
    "    edgeimg cve osv.zip --sbom gateway.cdx.json --ignore CVE-2025-12345"
)
@click.argument("feeds", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--sbom",
    "sboms",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Look at this CycloneDX file instead of the recipe's images; may be repeated.",
)
@click.option("--ignore", multiple=True, metavar="CVE", help="Leave this one out; may be repeated.")
@click.option("--fixable", is_flag=True, help="Only those that a later version is free of.")
@options.archs()
@options.board
@options.recipe
@options.k3s
@options.offline
@with_app
def cve(
    app: App,
    *,
    feeds: tuple[Path, ...],
    sboms: tuple[Path, ...],
    ignore: tuple[str, ...],
    fixable: bool,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    k3s: K3sChoice | None,
    offline: bool,
) -> None:
    """Look an image's components up in vulnerability feeds. Offline: you supply the feeds.

    FEED is the JSON file of Debian's security tracker, or records in the OSV format (a JSON
    file, a directory or a zip of them). Exits with 11 when there are any, those aside that
    Debian calls unimportant.
    """
    if sboms:
        documents = [subjects.load(path) for path in sboms]
    else:
        build_options = BuildOptions(output=Path("out"), k3s=k3s, offline=offline)
        documents = [
            json.loads(cyclonedx(pipeline.sbom(plan, store=app.store, ui=app.ui)))
            for plan in plan_builds(source, archs, build_options)
        ]
    with app.ui.step("look for known vulnerabilities"):
        judged = [judge(document, feeds, ignore=ignore, fixable=fixable) for document in documents]
    data = {"reports": [report.to_json() for report in judged]}
    app.result(data, lambda console: render.vulnerabilities(console, judged))
    ids = {item.id for report in judged for item in report.vulnerabilities if not item.minor}
    if ids:
        plural = "ies" if len(ids) > 1 else "y"
        raise CheckError(
            f"{len(ids)} known vulnerabilit{plural} that Debian does not call unimportant",
            hint="take fixed versions (`edgeimg lock --update`); --fixable shows where there are "
            "some, --ignore CVE skips those that do not affect the image",
        )


def _show_written(console: Console, documents: Sequence[dict[str, object]]) -> None:
    for document in documents:
        if "file" in document:
            line = Text(f"{document['file']}: {document['components']} components")
            console.print(line, soft_wrap=True)


COMMANDS: tuple[click.Command, ...] = (sbom, cve)
