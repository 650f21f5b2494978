"""edgeimg installer: the stick, CD or kernel image that installs images on internal disks."""

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
from edgeimg.build.result import Built
from edgeimg.cache import partials
from edgeimg.cli import flash_options, fleet_options, options, signing_options
from edgeimg.cli.app import App, with_app
from edgeimg.errors import HostError, ImageError, ProvisionError
from edgeimg.fleet import token
from edgeimg.install import source, stick
from edgeimg.provision import consents
from edgeimg.tools import Toolbox
from edgeimg.ui import human

_STICKS = (".raw", ".raw.zst")
_MEDIA = (".iso", ".efi")


@click.command(
    epilog="Examples: edgeimg installer --image releases/1.4.2 --key releases.asc    "
    "edgeimg installer --arch arm64 --image out/gateway_1.4.2_arm64 --rules install.toml    "
    "edgeimg installer --image releases/1.4.2 --output installer.iso"
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
    help="A stick (.raw or .raw.zst), a CD image (.iso), or a kernel image for HTTP boot and PXE "
    "(.efi).  [default: out/stick_ARCH.raw]",
)
@click.option(
    "--console",
    "consoles",
    multiple=True,
    metavar="TTY",
    help="Another console, such as ttyS1,115200n8, besides the screen and the first serial line.",
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
    consoles: tuple[str, ...],
    offline: bool,
) -> None:
    """Make a stick or CD that installs images on internal disks.

    It starts with UEFI and runs `edgeimg install`: with a menu on the screen and the serial line,
    or by rules, whose paths are those on the stick. Images, fleet, rules and key are files on the
    stick's partition CONFIG, and can be added there later. Write the stick with `edgeimg flash`.

    An output that ends in .iso is the image of a CD, for a drive or the virtual media of a BMC; one
    that ends in .efi is a single kernel image, for HTTP boot and PXE.
    """
    if defaults is not None and fleet_file is None:
        raise click.UsageError("--defaults are for a fleet: add --fleet FILE")
    arch = arch or tools.build_host()
    output = output or Path("out") / f"stick_{arch.name}.raw"
    _require_new(output)
    recipe = program.with_consoles(program.recipe(), consoles)
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
        if not output.name.endswith(_MEDIA):
            stick.require_room(files, plan.recipe.image.config)
        built = pipeline.build(plan, store=app.store, ui=app.ui)
        toolbox = pipeline.pack_tools(recipe, store=app.store, ui=app.ui)
        with app.ui.step(f"write {output.name}"):
            if output.name.endswith(_MEDIA):
                _write_medium(app, built, output, files, toolbox)
            else:
                stick.make(built.download, output, files, toolbox=toolbox)
        _show(app, output, files)


def _write_medium(
    app: App, built: Built, output: Path, files: Mapping[str, Path], toolbox: Toolbox
) -> None:
    """Write a CD image or a kernel image, which only its owner may read: it may hold secrets."""
    maker = program.medium_maker(built.plan, toolbox, app.store, app.ui)
    output.parent.mkdir(parents=True, exist_ok=True)
    with app.store.work("installer") as work, partials.file(output) as partial:
        system = maker.read(built.download, built.manifest, work)
        if output.suffix == ".iso":
            maker.write_disc(system, files, partial)
        else:
            stub = program.write_stub(built.plan, work / "stub", app.store, app.ui)
            maker.write_kernel(system, files, partial, stub=stub)
        partial.chmod(0o600)
        partial.rename(output)


def _require_new(output: Path) -> None:
    """Raises ImageError or HostError for an output that cannot be written."""
    if not output.name.endswith((*_STICKS, *_MEDIA)):
        raise ImageError(
            f"{output.name}: expected a name that ends in {', '.join(_STICKS)}, "
            f"{' or '.join(_MEDIA)}",
            hint="it decides what is made: a stick, a CD image or a kernel image",
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
        console.print(f"made: {output}; {_next(output)}", highlight=False, soft_wrap=True)

    app.result(data, shown)


def _next(output: Path) -> str:
    if output.suffix == ".iso":
        return "next: insert it as virtual media, or write it to a CD"
    if output.suffix == ".efi":
        return "next: publish it on an HTTP or TFTP server"
    return f"next: `edgeimg flash {output} DEVICE`"


COMMANDS: tuple[click.Command, ...] = (installer,)
