"""The story, top to bottom: from a recipe to its images. `guests` boots them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeimg import fetch, tools
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.build import debian_packages, kernels, result, shared, stages
from edgeimg.build.inputs import container_archives, get_k3s, unpack
from edgeimg.build.options import K3sChoice
from edgeimg.build.plan import BuildPlan
from edgeimg.build.result import Built
from edgeimg.build.stages import CheckReport, Composed
from edgeimg.cache import limit
from edgeimg.cache.store import Store, disk_errors
from edgeimg.check import sarif
from edgeimg.compose import byte_code
from edgeimg.compose.byte_code import Interpreter
from edgeimg.errors import LockError
from edgeimg.fetch.shared_cache import SharedCache
from edgeimg.image.raw import require_disk
from edgeimg.inspect.image import Inspection, inspect_image
from edgeimg.lock.file import read_lock, write_lock
from edgeimg.pack.image import make_filesystems
from edgeimg.recipe.file import RecipeFile
from edgeimg.resolve import builtin_parts
from edgeimg.resolve.lock import resolve
from edgeimg.resolve.requests import verify
from edgeimg.resolve.update import changes
from edgeimg.sbom import Sbom, describe_contents
from edgeimg.sources import k3s_release
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui


def build(
    plan: BuildPlan,
    *,
    store: Store,
    ui: Ui,
    composed: Composed | None = None,
    cache: SharedCache | None = None,
) -> Built:
    """Build one image. A build whose inputs did not change returns the finished one.

    `composed` is the root of this plan, when the caller has composed it already. `cache` may have
    the image of another builder; it is not used offline.
    """
    result.announce(plan, ui)
    if finished := result.existing(plan, ui):
        return finished
    cache = None if plan.offline else cache
    if cache and (found := shared.find(plan, cache, ui)):
        return found
    built = _make(plan, composed, store, ui)
    if cache and cache.where.writes:
        with ui.step(f"{plan.arch.name}: store it in the shared cache"):
            shared.offer(built, cache, ui)
    return built


def _make(plan: BuildPlan, composed: Composed | None, store: Store, ui: Ui) -> Built:
    store.sweep()
    limit.trim(store.results, limit.limit())
    toolbox = _pack_tools(plan, store, ui)
    composed = composed or compose(plan, store, ui)
    for finding in stages.absent(composed):
        ui.note(f"{plan.arch.name}: {finding}")
    with ui.step(f"{plan.arch.name}: check its programs"):
        stages.check_programs(composed)
    with ui.step(f"{plan.arch.name}: pack the root and the initrd"):
        filesystems = make_filesystems(composed.source, store=store, toolbox=toolbox)
    with ui.step(f"{plan.arch.name}: assemble and compress the disk"):
        return stages.publish(composed, filesystems, store, toolbox, ui)


def check(plan: BuildPlan, *, store: Store, ui: Ui) -> CheckReport:
    """Check the programs and the sizes of one image. Publishes nothing and raises for no finding:
    the report has everything that would fail a build.
    """
    result.announce(plan, ui)
    finished = result.existing(plan, ui)
    composed = compose(plan, store, ui)
    if finished:
        sizes = finished.sizes
    else:
        toolbox = _pack_tools(plan, store, ui)
        with ui.step(f"{plan.arch.name}: pack it, to know its sizes"):
            filesystems = make_filesystems(composed.source, store=store, toolbox=toolbox)
            sizes = stages.measure(composed, filesystems, store, toolbox)
    return check_composed(composed, sizes, ui)


def check_composed(composed: Composed, sizes: Mapping[str, int], ui: Ui) -> CheckReport:
    """All checks of a composed root; `sizes` are bytes by part of the image."""
    with ui.step(f"{composed.plan.arch.name}: check the image"):
        return stages.check(composed, sizes)


def write_sarif(source: RecipeFile, reports: Sequence[CheckReport], path: Path) -> None:
    """Write the findings of `check` for code hosts. Raises HostError."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sarif.document({r.arch: r.findings for r in reports}, source))


def compose(plan: BuildPlan, store: Store, ui: Ui) -> Composed:
    """Everything up to the finished root: the common part of `build`, `check` and `sbom`."""
    name, packages = plan.arch.name, plan.inputs.packages()
    with ui.step(f"{name}: get its packages"):
        debian_packages.fetch_packages(packages, store, offline=plan.offline, progress=ui)
        images = container_archives(plan, store, ui)
    k3s = None
    if not plan.recipe.k3s.is_absent:
        with ui.step(f"{name}: get K3s ({plan.recipe.k3s.source})"):
            k3s = get_k3s(plan, store, ui)
    with ui.step(f"{name}: unpack {len(packages)} packages"):
        inputs = unpack(plan, images, store, ui)
    python = _interpreter(plan, store, ui)
    with ui.step(f"{name}: compose the root"):
        return stages.compose(plan, inputs, k3s, store, python=python)


def sbom(plan: BuildPlan, *, store: Store, ui: Ui) -> Sbom:
    """The bill of materials of one image, which is composed but not packed. Publishes nothing."""
    result.announce(plan, ui)
    return describe(compose(plan, store, ui), ui)


def describe(composed: Composed, ui: Ui) -> Sbom:
    """The bill of materials of a composed root."""
    with ui.step(f"{composed.plan.arch.name}: list the contents"):
        return describe_contents(
            contents=composed.contents,
            root=composed.root,
            groups=composed.inputs.groups,
            kernel=composed.inputs.kernel,
            k3s=composed.k3s,
            images=composed.plan.inputs.images,
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
            hint="start a project, which has its own recipe and lock: edgeimg init",
        )
    # The lock of a board starts as a copy of the one without a board: their roots are the same.
    paths = (source.lock_path, source.path.with_suffix(".lock.toml"))
    previous = next((read_lock(path) for path in paths if path.exists()), None)
    pinned = kernels.pins(source, archs, store)
    with ui.step("resolve packages"):
        resolved = resolve(
            source.recipe,
            archs=archs,
            tools_hosts=[arch for arch in ARCHITECTURES if arch.qemu.kvm_hosts],
            previous=previous,
            update=update,
            accept_unsigned={arch.name for arch in accept_unsigned},
            store=store,
            project=source.project,
            kernels=pinned,
            progress=ui,
        )
    resolved = replace(resolved, builtin=builtin_parts.parts_of(source))
    write_lock(resolved, source.lock_path)
    return changes(previous, resolved)


def check_lock(source: RecipeFile) -> None:
    """Raises LockError when the lock is missing or does not fit the recipe."""
    lock = read_lock(source.lock_path)
    verify(source.recipe, lock)
    builtin_parts.verify(source, lock)


def pack_tools(source: RecipeFile, *, store: Store, ui: Ui) -> Toolbox:
    """The tools that look into images and change their config partition."""
    if installed := tools.of_this_system():
        return installed
    lock = read_lock(source.lock_path)
    return debian_packages.host_tools(lock, "pack", store, offline=False, progress=ui)


def inspect(image: Path, source: RecipeFile, *, store: Store, ui: Ui) -> Inspection:
    """Read an image file; only the tools come from the recipe's lock."""
    require_disk(image)
    lock = read_lock(source.lock_path)
    toolbox = debian_packages.host_tools(lock, "pack", store, offline=False, progress=ui)
    with ui.step(f"read {image.name}"), store.work("inspect") as work:
        return inspect_image(image, toolbox=toolbox, work=work)


def reachable_k3s(source: RecipeFile, *, ui: Ui) -> K3sChoice | None:
    """The official release if its server answers, otherwise the stand-in. Prints which.

    None for a recipe without K3s.
    """
    if source.recipe.k3s.is_absent:
        return None
    lock = read_lock(source.lock_path)
    asset = next((image.k3s for image in lock.images.values() if image.k3s), None)
    if asset and fetch.probe_size(k3s_release.download(asset).urls[0]) is not None:
        ui.note(f"using the official K3s {asset.version}")
        return K3sChoice(source="release")
    ui.note(
        "the official K3s cannot be reached from here: using the stand-in (builder/standin), which "
        "is NOT K3s but a Kubernetes in its packaging"
    )
    return K3sChoice(source="standin")


def _interpreter(plan: BuildPlan, store: Store, ui: Ui) -> Interpreter | None:
    """The Python that compiles the modules of the image; None for an image without byte code."""
    if byte_code.GROUP not in plan.lock.tools:
        return None
    toolbox = debian_packages.host_tools(
        plan.lock, byte_code.GROUP, store, offline=plan.offline, progress=ui
    )
    return byte_code.interpreter(plan.lock, toolbox)


def _pack_tools(plan: BuildPlan, store: Store, ui: Ui) -> Toolbox:
    with ui.step(f"{plan.arch.name}: get the tools that pack it"):
        return debian_packages.host_tools(
            plan.lock, "pack", store, offline=plan.offline, progress=ui
        )
