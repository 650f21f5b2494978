"""edgeimg smoke, run, demo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from edgeimg.arch import Arch
from edgeimg.build import boards, guests, pipeline
from edgeimg.build.options import BuildOptions, SmokeOptions
from edgeimg.build.plan import plan_builds
from edgeimg.cli import options, render
from edgeimg.cli.app import App, Command, with_app
from edgeimg.errors import SmokeError
from edgeimg.fetch import shared_cache
from edgeimg.lock.file import read_lock
from edgeimg.recipe.file import RecipeFile
from edgeimg.vm.argv import GuestOptions

accel = click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="auto uses KVM only after a test shows that it works on this host.",
)
memory = click.option(
    "--memory",
    type=click.IntRange(128, 65536),
    default=512,
    show_default=True,
    metavar="MIB",
    help="Memory of the guest.",
)
cpus = click.option(
    "--cpus",
    type=click.IntRange(1, 8),
    default=None,
    metavar="N",
    help="Processors of each guest.  [default: 2, or 1 where several guests run at once]",
)
deadline = click.option(
    "--deadline",
    type=click.IntRange(10),
    default=None,
    metavar="SECONDS",
    help="Longest time for one boot.  [default: by accelerator and architecture]",
)


def guest_options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Give a command some of the options above; it receives GuestOptions as `guest`."""

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def wrapper(
            *args: object,
            memory: int = GuestOptions.memory,
            cpus: int | None = None,
            accel: str = GuestOptions.accel,
            deadline: int | None = None,
            **kwargs: object,
        ) -> object:
            guest = GuestOptions(memory=memory, cpus=cpus, accel=accel, deadline=deadline)
            return function(*args, guest=guest, **kwargs)

        command: Command = wrapper
        for option in reversed(decorators):
            command = option(command)
        return command

    return decorate


@click.command(epilog="Example: edgeimg smoke --arch all --junit smoke.xml")
@options.archs()
@options.board
@options.recipe
@options.output
@guest_options(memory, cpus, accel, deadline)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="How many guests may run at once.",
)
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write JUnit XML."
)
@with_app
def smoke(
    app: App,
    *,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    output: Path,
    guest: GuestOptions,
    jobs: int,
    junit: Path | None,
) -> None:
    """Boot images in QEMU, twice, until K3s runs a pod.

    An image without K3s is booted until its services have started.

    The disk image is booted unchanged through UEFI firmware, or a board's boot loader. Console
    logs, journals and the guest's report are kept beside the image. Exits with 12 when a guest
    fails.
    """
    guest = replace(guest, board=boards.model(source, store=app.store, ui=app.ui))
    smoke_options = SmokeOptions(output=output, guest=guest, junit=junit, jobs=jobs)
    images = guests.built_images(source, archs, output)
    lock = read_lock(source.lock_path)
    reports = guests.smoke(images, lock, smoke_options, store=app.store, ui=app.ui)
    data = {"reports": [report.to_json() for report in reports]}
    app.result(data, lambda console: render.smoke(console, reports))
    failed = [report.arch for report in reports if report.failures]
    if failed:
        raise SmokeError(
            f"the smoke test failed on {', '.join(failed)}",
            hint="the console log and the journal are in the directory printed above",
        )


@click.command(epilog="Example: edgeimg run --arch arm64 --forward 8080:80")
@options.archs()
@options.board
@options.recipe
@options.output
@guest_options(memory, cpus, accel)
@click.option(
    "-f",
    "--forward",
    "forwards",
    multiple=True,
    metavar="HOST:GUEST",
    default=("6443:6443", "2222:22"),
    show_default=True,
    help="TCP ports of this machine that lead into the guest.",
)
@with_app
def run(
    app: App,
    *,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    output: Path,
    guest: GuestOptions,
    forwards: tuple[str, ...],
) -> None:
    """Boot a built image, with its console on this terminal.

    Changes go to a throw-away disk. Ctrl-A x ends the machine.
    """
    if len(archs) != 1:
        raise click.UsageError("run boots one architecture at a time")
    run_options = replace(
        guest,
        forwards=tuple(_port_pair(text) for text in forwards),
        board=boards.model(source, store=app.store, ui=app.ui),
    )
    (image,) = guests.built_images(source, archs, output)
    lock = read_lock(source.lock_path)
    guests.run(image, lock, run_options, store=app.store, ui=app.ui)


@click.command(epilog="Example: edgeimg demo --arch arm64")
@options.archs(default="x86-64")
@options.recipe
@options.build
@guest_options(memory, cpus, accel)
@with_app
def demo(
    app: App,
    *,
    source: RecipeFile,
    archs: tuple[Arch, ...],
    build_options: BuildOptions,
    guest: GuestOptions,
) -> None:
    """Build the default image and boot it until a pod runs.

    Uses the official K3s when it can be reached, otherwise the stand-in, and prints which.
    """
    demo_options = replace(
        build_options, k3s=build_options.k3s or pipeline.reachable_k3s(source, ui=app.ui)
    )
    plans = plan_builds(source, archs, demo_options)
    with shared_cache.opened(app.ui) as cache:
        built = [pipeline.build(plan, store=app.store, ui=app.ui, cache=cache) for plan in plans]
    if not app.as_json:
        render.images(app.ui.console, built)
    images = guests.built_images(source, archs, build_options.output)
    boots = SmokeOptions(output=build_options.output, guest=guest, measure_writes=False)
    reports = guests.smoke(images, plans[0].lock, boots, store=app.store, ui=app.ui)
    data = {
        "images": [image.to_json() for image in built],
        "reports": [report.to_json() for report in reports],
    }
    app.result(data, lambda console: render.smoke(console, reports))
    if any(report.failures for report in reports):
        raise SmokeError("the guest did not reach a running pod; see the table above")


def _port_pair(text: str) -> tuple[int, int]:
    host, _, guest = text.partition(":")
    try:
        pair = int(host), int(guest)
    except ValueError:
        raise click.UsageError(f"--forward {text}: expected HOST:GUEST, such as 8080:80") from None
    if not all(0 < port < 65536 for port in pair):
        raise click.UsageError(f"--forward {text}: ports are 1 to 65535")
    return pair


COMMANDS: tuple[click.Command, ...] = (smoke, run, demo)
