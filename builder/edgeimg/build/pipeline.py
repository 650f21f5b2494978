"""The story, top to bottom: from a recipe to images that have been seen running a pod."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeimg import fetch, process
from edgeimg import sbom as inventory
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.build import inputs as sources
from edgeimg.build import plan, result, stages
from edgeimg.build.plan import BuildOptions, BuildPlan, K3sChoice, SmokeOptions
from edgeimg.build.result import Built
from edgeimg.build.stages import CheckReport, Composed
from edgeimg.cache import limit as store_limit
from edgeimg.cache.store import Store, disk_errors
from edgeimg.check import sarif
from edgeimg.errors import ImageError, LockError
from edgeimg.inspect.image import Inspection
from edgeimg.inspect.image import inspect as read_image
from edgeimg.pack import image as packing
from edgeimg.recipe.file import RecipeFile
from edgeimg.resolve import builtin_parts
from edgeimg.resolve import lock as locks
from edgeimg.sbom import Sbom
from edgeimg.smoke import smoke as guests
from edgeimg.smoke.smoke import SmokeReport
from edgeimg.sources import k3s_release
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui
from edgeimg.vm import run as interactive


def build(source: RecipeFile, arch: Arch, options: BuildOptions, *, store: Store, ui: Ui) -> Built:
    """Build one image. A build whose inputs did not change returns the finished one."""
    planned = plan.plan_build(source, arch, options)
    key = planned.key(sources.k3s_identity(planned))
    result.announce(planned, ui)
    if finished := result.existing(planned, key, ui):
        return finished
    store.sweep()
    store_limit.trim(store.results, store_limit.limit())
    toolbox, composed = compose(planned, store, ui)
    with ui.step(f"{arch.name}: check its programs"):
        stages.check_programs(composed, arch)
    with ui.step(f"{arch.name}: pack the root and the initrd"):
        root = packing.make_root(composed.source, store=store, toolbox=toolbox)
        first = packing.make_initrd(composed.source, store=store, toolbox=toolbox)
    with ui.step(f"{arch.name}: assemble and compress the disk"):
        return stages.publish(planned, composed, root, first, key, store, toolbox, ui)


def plan_all(source: RecipeFile, archs: Sequence[Arch], options: BuildOptions) -> None:
    """Refuse what is wrong for any of the architectures before hours are spent on the first."""
    for arch in archs:
        sources.k3s_identity(plan.plan_build(source, arch, options))


def check(
    source: RecipeFile, arch: Arch, options: BuildOptions, *, store: Store, ui: Ui
) -> CheckReport:
    """Check the programs and the sizes of one image. Publishes nothing, and refuses nothing:
    what would fail a build is in the report, all of it.
    """
    planned = plan.plan_build(source, arch, options)
    result.announce(planned, ui)
    finished = result.existing(planned, planned.key(sources.k3s_identity(planned)), ui)
    toolbox, composed = compose(planned, store, ui)
    if finished:
        sizes = dict(finished.sizes)
    else:
        with ui.step(f"{arch.name}: pack it, to know its sizes"):
            root = packing.make_root(composed.source, store=store, toolbox=toolbox)
            first = packing.make_initrd(composed.source, store=store, toolbox=toolbox)
            sizes = stages.measure(composed, root, first, store, toolbox)
    with ui.step(f"{arch.name}: check all of it"):
        return stages.check(planned, composed, sizes)


def write_sarif(source: RecipeFile, reports: Sequence[CheckReport], path: Path) -> None:
    """Write what `check` found for code hosts. Raises HostError."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sarif.document({r.arch: r.findings for r in reports}, source))


def compose(planned: BuildPlan, store: Store, ui: Ui) -> tuple[Toolbox, Composed]:
    """Everything up to the finished root: what all that looks into an image has in common."""
    name, offline = planned.arch.name, planned.offline
    with ui.step(f"{name}: get tools and packages"):
        toolbox = sources.host_tools(planned.lock, "pack", store, offline=offline, progress=ui)
        sources.fetch_packages(planned.inputs.packages(), store, offline=offline, progress=ui)
        images = sources.container_archives(planned, store, ui)
    with ui.step(f"{name}: get K3s ({planned.recipe.k3s.source})"):
        k3s = sources.get_k3s(planned, store, ui)
    with ui.step(f"{name}: unpack {len(planned.inputs.packages())} packages"):
        inputs = sources.unpack(planned, images, store, ui)
    with ui.step(f"{name}: compose the root"):
        return toolbox, stages.compose(planned, inputs, k3s, store)


def sbom(source: RecipeFile, arch: Arch, options: BuildOptions, *, store: Store, ui: Ui) -> Sbom:
    """What is inside one image: composed, but not packed. Publishes nothing."""
    planned = plan.plan_build(source, arch, options)
    result.announce(planned, ui)
    _, composed = compose(planned, store, ui)
    return describe(planned, composed, ui)


def describe(planned: BuildPlan, composed: Composed, ui: Ui) -> Sbom:
    """The bill of materials of a composed root."""
    with ui.step(f"{planned.arch.name}: list what is inside"):
        return inventory.describe(
            contents=composed.contents,
            root=composed.source.root,
            groups=composed.inputs.groups,
            kernel=composed.source.kernel,
            k3s=composed.k3s,
            images=planned.inputs.images,
        )


def lock(
    source: RecipeFile,
    *,
    archs: Sequence[Arch],
    update: Sequence[str] | None,
    accept_unsigned: Sequence[Arch],
    store: Store,
    ui: Ui,
) -> list[str]:
    """Resolve the recipe and write its lock; returns the changes, one line each."""
    if source.is_built_in:
        raise LockError(
            f"{source.path.name} is edgeimg's own recipe, and its lock comes with it",
            hint="start a project, which has a recipe and a lock of its own: edgeimg init",
        )
    previous = locks.load(source.lock_path) if source.lock_path.exists() else None
    with ui.step("resolve packages"):
        resolved = locks.resolve(
            source.recipe,
            archs=archs,
            tools_hosts=[arch for arch in ARCHITECTURES if arch.qemu.kvm_hosts],
            previous=previous,
            update=update,
            accept_unsigned={arch.name for arch in accept_unsigned},
            store=store,
            project=source.project,
            progress=ui,
        )
    resolved = replace(resolved, builtin=builtin_parts.used(source))
    locks.write(resolved, source.lock_path)
    return locks.changes(previous, resolved)


def check_lock(source: RecipeFile) -> None:
    """Raises LockError when the lock is missing or does not fit the recipe."""
    lock = locks.load(source.lock_path)
    locks.verify(source.recipe, lock)
    builtin_parts.verify(source, lock)


def smoke(
    source: RecipeFile, archs: Sequence[Arch], options: SmokeOptions, *, store: Store, ui: Ui
) -> list[SmokeReport]:
    """Boot the built images twice each, until a pod runs. Raises ImageError when one is missing."""
    images = {arch: _built_image(source, arch, options.output) for arch in archs}
    toolbox = _qemu(source, store, ui)

    def boot(arch: Arch) -> SmokeReport:
        image, directory = images[arch], images[arch].parent / "smoke"
        recipe = source.recipe.for_arch(arch)
        ports, writes = recipe.check.listening, recipe.budget.writes if options.rest else None
        known = (
            None
            if options.again
            else guests.earlier(directory, image, options.memory, ports, writes)
        )
        if known:
            ui.note(f"{arch.name}: these bytes passed before, see {directory}")
            return known
        with ui.step(f"{arch.name}: boot it twice with {options.memory} MiB"):
            return guests.smoke(
                image,
                arch,
                toolbox=toolbox,
                store=store,
                directory=directory,
                memory=options.memory,
                cpus=options.cpus,
                deadline=options.deadline,
                accel=options.accel,
                ports=ports,
                writes=writes,
                progress=ui,
            )

    reports = process.parallel(boot, archs, jobs=options.jobs)
    if options.junit is not None:
        with disk_errors(options.junit):
            options.junit.parent.mkdir(parents=True, exist_ok=True)
            options.junit.write_bytes(guests.junit(reports))
    return reports


def run(
    source: RecipeFile,
    arch: Arch,
    options: SmokeOptions,
    forwards: tuple[tuple[int, int], ...],
    *,
    store: Store,
    ui: Ui,
) -> None:
    """Boot a built image on this terminal."""
    image = _built_image(source, arch, options.output)
    interactive.run(
        image,
        arch,
        memory=options.memory,
        cpus=options.cpus,
        wanted=options.accel,
        forwards=forwards,
        toolbox=_qemu(source, store, ui),
        store=store,
        progress=ui,
    )


def pack_tools(source: RecipeFile, *, store: Store, ui: Ui) -> Toolbox:
    """The tools that look into images and change their config partition."""
    lock = locks.load(source.lock_path)
    return sources.host_tools(lock, "pack", store, offline=False, progress=ui)


def inspect(image: Path, source: RecipeFile, *, store: Store, ui: Ui) -> Inspection:
    """Read an image file; only the tools come from the recipe's lock."""
    lock = locks.load(source.lock_path)
    toolbox = sources.host_tools(lock, "pack", store, offline=False, progress=ui)
    with ui.step(f"read {image.name}"), store.work("inspect") as work:
        return read_image(image, toolbox=toolbox, work=work)


def reachable_k3s(source: RecipeFile, *, ui: Ui) -> K3sChoice:
    """The official release when its server answers, otherwise the stand-in; says which."""
    lock = locks.load(source.lock_path)
    asset = next((image.k3s for image in lock.images.values() if image.k3s), None)
    if asset and fetch.probe_size(k3s_release.wanted(asset).urls[0]) is not None:
        ui.note(f"using the official K3s {asset.version}")
        return K3sChoice(source="release")
    ui.note(
        "the official K3s cannot be reached from here: using the stand-in (builder/standin), which "
        "is NOT K3s but a Kubernetes in its packaging"
    )
    return K3sChoice(source="standin")


def _qemu(source: RecipeFile, store: Store, ui: Ui) -> Toolbox:
    lock = locks.load(source.lock_path)
    with ui.step("get QEMU"):
        return sources.host_tools(lock, "qemu", store, offline=False, progress=ui)


def _built_image(source: RecipeFile, arch: Arch, output: Path) -> Path:
    image = source.recipe.for_arch(arch).image
    name = f"{image.id}_{image.version}_{arch.name}"
    path = output / name / f"{name}.raw.zst"
    if not path.is_file():
        raise ImageError(
            f"there is no image {path}", hint=f"build it: edgeimg build --arch {arch.name}"
        )
    return path
