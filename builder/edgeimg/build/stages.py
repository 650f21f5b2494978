"""The stages of a build that join several rooms: compose, check, publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeimg.build import describe
from edgeimg.build.inputs import Inputs
from edgeimg.build.plan import BuildPlan
from edgeimg.build.result import Built
from edgeimg.cache.store import Store, disk_errors
from edgeimg.check import accept, containers, elf, kernel, size, volumes
from edgeimg.check.all import everything
from edgeimg.check.findings import Finding, errors, refuse
from edgeimg.check.size import Sizes
from edgeimg.compose import byte_code, kernel_deb, rollout, rootfs, signed_settings, updates
from edgeimg.compose.byte_code import Interpreter
from edgeimg.errors import ImageError
from edgeimg.image.manifest import PATH, SUFFIX, Contents, Manifest
from edgeimg.pack import image, initrd
from edgeimg.pack.image import Filesystems, Source
from edgeimg.pack.publish import compress, publish_build
from edgeimg.progress import Progress
from edgeimg.services.compose import require_runtime
from edgeimg.sources.k3s import K3sBundle
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree, file


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A root that is ready to be packed, and its manifest's contents."""

    plan: BuildPlan
    inputs: Inputs
    k3s: K3sBundle | None
    root: Tree
    contents: Contents

    @property
    def source(self) -> Source:
        """The input of `pack`."""
        return Source(
            recipe=self.plan.recipe,
            arch=self.plan.arch,
            root=self.root,
            kernel=self.inputs.kernel,
            initrd=self.inputs.initrd,
            boot=self.inputs.boot,
            loader=self.inputs.loader,
            microcode=self.inputs.microcode,
        )


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The findings of one image."""

    arch: str
    findings: tuple[Finding, ...]
    sizes: dict[str, int]
    components: dict[str, int]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return len(errors(self.findings))

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return asdict(self)


def compose(
    plan: BuildPlan,
    inputs: Inputs,
    k3s: K3sBundle | None,
    store: Store,
    *,
    python: Interpreter | None = None,
) -> Composed:
    """Merge everything into the root, and add the list of its contents.

    `k3s` is None for an image without K3s. `python` compiles the Python modules of the root.
    """
    root = rootfs.compose(
        plan.recipe,
        plan.arch,
        inputs.packages,
        inputs.kernel,
        (
            k3s.tree if k3s else Tree(),
            inputs.firmware.files,
            inputs.images,
            inputs.services,
            inputs.workloads,
            updates.compose(plan.recipe.update, plan.update_key),
            signed_settings.compose(plan.settings_key),
            rollout.compose(plan.recipe.rollout),
            plan.overlay,
        ),
        store,
    )
    if python is not None:
        root = byte_code.compile_modules(root, python, store)
    require_runtime(root, plan.recipe.services)
    updates.require_programs(root, plan.recipe.update)
    signed_settings.require_verifier(root, plan.recipe.provision)
    rollout.require_programs(root, plan.recipe.rollout)
    contents = describe.contents(plan, root, k3s, kernel=inputs.kernel.version)
    described = root.merge(Tree().with_nodes({PATH: file(contents.file())}))
    return Composed(plan=plan, inputs=inputs, k3s=k3s, root=described, contents=contents)


def check_programs(composed: Composed) -> None:
    """Raises CheckError when a program of the root could not run there, or a vendor's kernel lacks
    what the image needs. A kernel of Debian is judged by `check` alone.
    """
    refuse(elf.check(composed.root, composed.plan.arch))
    plan, linux = composed.plan, composed.inputs.kernel
    if linux.vendor:
        findings = kernel.check(composed.root, plan.recipe, linux, _initrd_modules(composed))
        refuse(accept.remaining(findings, plan.recipe.check.accept))


def absent(composed: Composed) -> list[Finding]:
    """Findings on parts of containers that the image lacks, without accepted ones."""
    lacking = composed.inputs.absent
    findings = [
        *containers.check(lacking),
        *volumes.check(lacking.volumes, lacking.drivers, composed.root, composed.inputs.kernel),
    ]
    return accept.remaining(findings, composed.plan.recipe.check.accept)


def check(composed: Composed, sizes: Mapping[str, int]) -> CheckReport:
    """All checks of one image. None of them raises; `sizes` are bytes by part."""
    plan, components = composed.plan, composed.contents.components
    findings = [
        *everything(
            composed.root,
            plan.recipe,
            plan.arch,
            composed.inputs.kernel,
            initrd=_initrd_modules(composed),
            absent=composed.inputs.absent,
            packages=composed.inputs.image_packages(),
        ),
        *size.check(plan.recipe.budget, Sizes(parts=sizes, components=components)),
    ]
    return CheckReport(
        arch=plan.arch.name,
        findings=tuple(_with_source(plan, composed.root, finding) for finding in findings),
        sizes=dict(sizes),
        components=dict(components),
    )


def _initrd_modules(composed: Composed) -> set[str]:
    patterns = (*initrd.MODULES, *composed.plan.recipe.kernel.initrd)
    return kernel_deb.match(composed.inputs.kernel, patterns, strict=False)


def _with_source(plan: BuildPlan, root: Tree, finding: Finding) -> Finding:
    """The finding with the overlay's file or the recipe's line that it comes from, so that an
    editor can open it.
    """
    node = root.get(finding.path)
    if node is None or finding.path not in plan.overlay:
        return finding
    for path in reversed(plan.recipe.overlay.paths):
        if node.origin == f"overlay:{Path(path).name}":
            return replace(finding, source=f"{path.rstrip('/')}/{finding.path}")
    if finding.path in plan.links:
        file, line = plan.links[finding.path]
        return replace(finding, source=file, line=line)
    return finding


def measure(
    composed: Composed, filesystems: Filesystems, store: Store, toolbox: Toolbox
) -> dict[str, int]:
    """The sizes (bytes) that a build of this would have, download included. Stores nothing."""
    with store.work("disk") as work, disk_errors(store.root):
        packed = image.make_disk(composed.source, filesystems, work, toolbox=toolbox)
        download = work / "download"
        compress(packed.raw, download, toolbox=toolbox)
        return {**packed.sizes, "download": download.stat().st_size}


def publish(
    composed: Composed,
    filesystems: Filesystems,
    store: Store,
    toolbox: Toolbox,
    progress: Progress,
) -> Built:
    """Assemble the disk, hold it against the budget, and publish it by rename."""
    plan = composed.plan
    with store.work("disk") as work, disk_errors(store.root):
        packed = image.make_disk(composed.source, filesystems, work, toolbox=toolbox)
        manifest = describe.manifest(
            plan, composed.contents, composed.root, packed, kernel=composed.inputs.kernel.options
        )
        previous = _previous(plan)

        def accept(download: int) -> None:
            measured = Sizes(
                parts={**packed.sizes, "download": download},
                components=composed.contents.components,
            )
            judge = size.check if plan.over_budget else size.enforce
            for finding in judge(plan.recipe.budget, measured, previous):
                progress.note(str(finding))

        published = publish_build(
            packed.raw,
            manifest,
            plan.directory,
            name=plan.name,
            accept=accept,
            toolbox=toolbox,
            progress=progress,
        )
    files = {file.name: file for file in published.files}
    return Built(plan=plan, manifest=manifest, files=files, unchanged=False)


def _previous(plan: BuildPlan) -> Sizes | None:
    """The sizes of the image that this build replaces, for a table of growth."""
    try:
        manifest = Manifest.read(plan.directory / f"{plan.name}{SUFFIX}")
    except ImageError:
        return None
    return Sizes(parts=manifest.sizes, components=manifest.contents.components)
