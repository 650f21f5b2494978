"""Built images in guests: booted until a pod runs, or on this terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg import process
from edgeimg.arch import Arch
from edgeimg.build import debian_packages
from edgeimg.build.options import SmokeOptions
from edgeimg.build.plan import image_name
from edgeimg.cache.store import Store, disk_errors
from edgeimg.errors import ImageError
from edgeimg.lock.model import Lock
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.model import Recipe
from edgeimg.smoke.junit import junit
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.smoke import Expected, read_earlier, run_smoke
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.run import run_guest


@dataclass(frozen=True, kw_only=True)
class BootImage:
    """A built image that is to be booted."""

    arch: Arch
    recipe: Recipe
    """With the overrides of `arch` applied."""
    path: Path


def built_images(source: RecipeFile, archs: Sequence[Arch], output: Path) -> list[BootImage]:
    """The images of earlier builds in `output`. Raises ImageError when one is missing."""
    return [_built_image(source, arch, output) for arch in archs]


def smoke(
    images: Sequence[BootImage], lock: Lock, options: SmokeOptions, *, store: Store, ui: Ui
) -> list[SmokeReport]:
    """Boot built images twice each, until a pod runs, or without K3s until their services run."""
    toolbox = _qemu(lock, store, ui)
    guest = options.guest.shared(min(len(images), options.jobs))

    def boot(image: BootImage) -> SmokeReport:
        arch, recipe, directory = image.arch, image.recipe, image.path.parent / "smoke"
        expected = Expected(
            ports=recipe.check.listening,
            k3s=not recipe.k3s.is_absent,
            writes=recipe.budget.writes if options.measure_writes else None,
        )
        if not options.again:
            report = read_earlier(directory, image.path, guest.memory, expected)
            if report:
                ui.note(f"{arch.name}: these bytes passed before, see {directory}")
                return report
        with ui.step(f"{arch.name}: boot it twice with {guest.memory} MiB"):
            return run_smoke(
                image.path,
                arch,
                guest,
                expected,
                directory=directory,
                toolbox=toolbox,
                store=store,
                progress=ui,
            )

    reports = process.parallel(boot, images, jobs=options.jobs)
    if options.junit is not None:
        with disk_errors(options.junit):
            options.junit.parent.mkdir(parents=True, exist_ok=True)
            options.junit.write_bytes(junit(reports))
    return reports


def run(image: BootImage, lock: Lock, options: GuestOptions, *, store: Store, ui: Ui) -> None:
    """Boot a built image on this terminal."""
    run_guest(
        image.path,
        image.arch,
        options,
        toolbox=_qemu(lock, store, ui),
        store=store,
        progress=ui,
    )


def _qemu(lock: Lock, store: Store, ui: Ui) -> Toolbox:
    with ui.step("get QEMU"):
        return debian_packages.host_tools(lock, "qemu", store, offline=False, progress=ui)


def _built_image(source: RecipeFile, arch: Arch, output: Path) -> BootImage:
    recipe = source.recipe.for_arch(arch)
    name = image_name(recipe, arch)
    path = output / name / f"{name}.raw.zst"
    if not path.is_file():
        raise ImageError(
            f"there is no image {path}", hint=f"build it: edgeimg build --arch {arch.name}"
        )
    return BootImage(arch=arch, recipe=recipe, path=path)
