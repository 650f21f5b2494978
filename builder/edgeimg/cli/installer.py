"""edgeimg installer: the stick that installs images on internal disks."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg import tools
from edgeimg.arch import Arch
from edgeimg.build import pipeline, program
from edgeimg.build.options import BuildOptions
from edgeimg.cli import flash_options, fleet_options, options, signing_options
from edgeimg.cli.app import App, with_app
from edgeimg.errors import HostError, ImageError, ProvisionError
from edgeimg.fleet import token
from edgeimg.install import source, stick
from edgeimg.provision import consents
from edgeimg.ui import human


@click.command(
    epilog="Examples: edgeimg installer --image releases/1.4.2 --key releases.asc    "
    "edgeimg installer --arch arm64 --image out/gateway_1.4.2_arm64 --rules install.toml"
)
@options.arch("Of the machines: x86-64 or arm64.  [default: this machine]")
@click.option(
    "--image",
    "sources",
    multiple=True,
    metavar="FILE|DIRECTORY",
    type=click.Path(path_type=Path),
    help="Image file, or directory of a release or a build, for the stick; may be repeated.",
)
@fleet_options.with_rules
@fleet_options.with_fleet
@fleet_options.with_defaults
@flash_options.key
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The image of the stick: .raw.zst or .raw.  [default: out/stick_ARCH.raw]",
)
@options.offline
@with_app
def installer(
    app: App,
    *,
    arch: Arch | None,
    sources: tuple[Path, ...],
    rules_file: Path | None,
    fleet_file: Path | None,
    defaults: Path | None,
    key: Path | None,
    output: Path | None,
    offline: bool,
) -> None:
    """Make a stick that installs images on internal disks.

    The stick starts with UEFI and runs `edgeimg install`: with a menu on the screen and the serial
    line, or by rules, whose paths are those on the stick. Images, fleet, rules and key are files on
    its partition CONFIG, and can be added there later. Write it with `edgeimg flash`.
    """
    if defaults is not None and fleet_file is None:
        raise click.UsageError("--defaults are for a fleet: add --fleet FILE")
    arch = arch or tools.build_host()
    output = output or Path("out") / f"stick_{arch.name}.raw"
    _require_new(output)
    recipe = program.recipe()
    if arch not in recipe.recipe.archs:
        names = ", ".join(one.name for one in recipe.recipe.archs)
        raise click.UsageError(f"there is no installer for {arch.name}: expected {names}")
    plan = program.plan_installer(recipe, arch, BuildOptions(output=output.parent, offline=offline))
    images = [image for path in sources for image in source.images(path, arch)]
    for image in images:
        flash_options.verify_image(app, image, key)
    files = {
        **stick.image_files(images),
        **(stick.fleet_files(fleet_file, defaults) if fleet_file else {}),
        **({stick.KEY: key} if key else {}),
        **({stick.RULES: rules_file} if rules_file else {}),
    }
    if rules_file is not None:
        stick.require_rules(rules_file, sorted(files), arch)
    _require_fleet(app, files, images, attended=rules_file is None)
    with tempfile.TemporaryDirectory(prefix="edgeimg-stick-") as scratch:
        readme = Path(scratch) / stick.README
        readme.write_bytes(stick.TEXT)
        files[stick.README] = readme
        stick.require_room(files, plan.recipe.image.config)
        built = pipeline.build(plan, store=app.store, ui=app.ui)
        toolbox = pipeline.pack_tools(recipe, store=app.store, ui=app.ui)
        with app.ui.step(f"write {output.name}"):
            stick.make(built.download, output, files, toolbox=toolbox)
        _show(app, output, files)


def _require_new(output: Path) -> None:
    """Raises ImageError or HostError for an output that cannot be written."""
    if not output.name.endswith((".raw", ".raw.zst")):
        raise ImageError(
            f"{output.name}: expected a name that ends in .raw or .raw.zst",
            hint="`edgeimg flash` goes by it",
        )
    if output.exists():
        raise HostError(f"{output} is there already", hint="remove it, or choose another name")


def _require_fleet(
    app: App, files: Mapping[str, Path], images: Sequence[Path], *, attended: bool
) -> None:
    """Raises ProvisionError for a fleet that the stick cannot read, or an image does not take.

    It is read with the files that the stick has, so a file that a row names is missed here. Unless
    somebody attends the installation, so is a secret that would be asked for.
    """
    place = next((one for one in stick.FLEETS if one in files), None)
    if place is None:
        return
    takes = [consents.beside(image) for image in images]
    for image, facts in zip(images, takes, strict=True):
        signing_options.require(None, signed=bool(facts and facts.signed), title=image.name)
    policy = options.load_recipe(None).recipe.provision
    with tempfile.TemporaryDirectory(prefix="edgeimg-stick-") as name:
        folder = Path(name)
        for at, path in files.items():
            if "/" not in at:
                (folder / at).symlink_to(path.resolve())
        defaults = folder / stick.DEFAULTS if stick.DEFAULTS in files else None
        for allowed in {facts.allow if facts else policy.allowed for facts in takes or [None]}:
            try:
                fleet_options.load(
                    app, folder / place, defaults,
                    generate_token=token.kept(folder / place).exists(), secrets=False,
                    allowed=allowed, asks=attended,
                )  # fmt: skip
            except ProvisionError as error:
                message = error.message.replace(str(folder / place), str(files[place]))
                raise ProvisionError(message, hint=error.hint) from None


def _show(app: App, output: Path, files: Mapping[str, Path]) -> None:
    sizes = {place: path.stat().st_size for place, path in sorted(files.items())}
    data = {"image": str(output), "bytes": output.stat().st_size, "files": sizes}

    def shown(console: Console) -> None:
        for place, size in sizes.items():
            console.print(Text(f"  {place}  {human(size)}"), soft_wrap=True)
        hint = f"made: {output}; next: `edgeimg flash {output} DEVICE`"
        console.print(hint, highlight=False, soft_wrap=True)

    app.result(data, shown)


COMMANDS: tuple[click.Command, ...] = (installer,)
