"""Lock → inputs: everything an image is composed from, fetched, verified and unpacked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg import tools
from edgeimg.build import containers, debian_packages, kernels
from edgeimg.build.plan import BuildPlan, k3s_file, k3s_release
from edgeimg.cache.store import Store, key
from edgeimg.check.containers import Absent
from edgeimg.compose import firmware
from edgeimg.compose.firmware import Selection
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.errors import DigestError, RecipeError
from edgeimg.lock.groups import BOARD
from edgeimg.lock.model import Package
from edgeimg.pack import boards
from edgeimg.pack.boards import Loader
from edgeimg.progress import Progress
from edgeimg.sources import container_images, k3s, k3s_airgap, kubernetes, standin
from edgeimg.sources.builtin_images import static_busybox
from edgeimg.sources.deb import Deb
from edgeimg.sources.k3s import K3sBundle
from edgeimg.sources.k3s_release import fetch_k3s
from edgeimg.tree import Tree, union
from edgeimg.vm.argv import BoardModel


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The inputs of one image."""

    groups: Mapping[str, tuple[tuple[Package, Deb], ...]]
    """All packages by their purpose: see `ArchLock.groups`."""
    kernel: Kernel
    initrd: Tree
    """The packages of the initrd, merged."""
    boot: Tree
    """systemd-boot and the UKI stub."""
    loader: Loader | None
    """The boot loader of the board; None without a board."""
    images: Tree
    """The images of pods, built-in ones too, at their place in the root."""
    services: Tree
    """The recipe's services: containers and units, at their place in the root."""
    firmware: Selection
    """The recipe's firmware, at its place in the root."""
    microcode: Tree
    """The packages of the microcode, merged; empty without it."""
    workloads: Tree
    """The recipe's manifests, at their place in the root."""
    absent: Absent
    """Parts of containers that the root lacks."""

    @property
    def packages(self) -> tuple[tuple[Package, Deb], ...]:
        """Those of the root file system."""
        return self.groups["root"]

    def image_packages(self) -> list[Deb]:
        """Those with files in the image: of firmware's, only some files of some are in the root."""
        origins = {node.origin for _, node in self.firmware.files.items()}
        return [
            deb
            for group, packages in self.groups.items()
            for package, deb in packages
            if group != "firmware" or f"package:{package.name}" in origins
        ]


def get_k3s(plan: BuildPlan, store: Store, progress: Progress) -> K3sBundle:
    """Fetch, find or compile K3s according to the plan, and unpack it. The plan has one.

    Raises FetchError naming the ways on, ArchitectureError, ArchiveError, DigestError.
    """
    source, arch = plan.recipe.k3s.source, plan.arch
    if source == "release":
        asset = k3s_release(arch, plan.lock)
        binary = fetch_k3s(asset, store, offline=plan.offline, progress=progress)
        label = f"K3s {asset.version} for {arch.name}"
        return k3s.unpack(binary, arch, store, source=source, version=asset.version, label=label)
    if source == "file":
        bundle = k3s.unpack(k3s_file(plan.recipe), arch, store, source=source)
        if plan.k3s_identity != f"file {bundle.sha256}":
            raise DigestError(
                f"{plan.recipe.k3s.path} changed while edgeimg worked with it",
                hint="start again when the file is complete",
            )
        return bundle
    debian_go = _go(plan, store, progress)
    binary = standin.build(arch, store=store, progress=progress, toolbox_go=debian_go)
    return k3s.unpack(binary, arch, store, source="standin", label=f"the stand-in for {arch.name}")


def _go(plan: BuildPlan, store: Store, progress: Progress) -> Callable[[], Path]:
    """Debian's Go, for hosts without one."""

    def find() -> Path:
        toolbox = debian_packages.host_tools(
            plan.lock, "go", store, offline=plan.offline, progress=progress
        )
        return toolbox.path("usr/bin/go")

    return find


def container_archives(plan: BuildPlan, store: Store, progress: Progress) -> dict[str, Path]:
    """The archives of container images, by the name of the service or of the pods' image.

    Raises FetchError when an image has to come from an engine that does not have it.
    """
    archives = {
        name: container_images.path(
            name,
            contents,
            plan.inputs.images[name],
            plan.arch,
            project=plan.project,
            store=store,
            offline=plan.offline,
            progress=progress,
        )
        for name, contents in sorted(container_images.contents(plan.recipe).items())
    }
    if airgap := _airgap(plan, store, progress):
        archives[k3s_airgap.KEY] = airgap
    return archives


def _airgap(plan: BuildPlan, store: Store, progress: Progress) -> Path | None:
    """The archive with the images of K3s' components; None when the recipe uses none."""
    if plan.recipe.k3s.source == "standin":
        if not standin.COMPONENTS.intersection(plan.recipe.k3s.airgap):
            return None
        busybox = static_busybox(
            debian_packages.group(plan, "containers", store, progress), plan.arch
        )
        return standin.build_airgap(
            plan.arch,
            busybox,
            store=store,
            progress=progress,
            toolbox_go=_go(plan, store, progress),
        )
    if plan.inputs.airgap is None:
        return None
    return fetch_k3s(plan.inputs.airgap, store, offline=plan.offline, progress=progress)


def unpack(
    plan: BuildPlan, archives: Mapping[str, Path], store: Store, progress: Progress
) -> Inputs:
    """Open all packages of the image, and the container images in `archives`, by their names.

    Raises ArchiveError for a damaged or hostile one, RecipeError for manifests that would not run.
    """
    groups = plan.inputs.groups
    total = sum(len(packages) for packages in groups.values())
    with progress.task("Unpacking packages", total, "items") as advance:

        def group(name: str) -> tuple[tuple[Package, Deb], ...]:
            opened = []
            for package in groups[name]:
                opened.append((package, debian_packages.read(package, plan, store, progress)))
                advance(1)
            return tuple(opened)

        opened = {name: group(name) for name in groups}
        contents = containers.images(plan, archives, store)
        images = containers.pod_images(plan, opened, contents)

        def kustomize(files: Tree, directory: str) -> bytes:
            kubectl = kubernetes.kubectl(_host_k3s(plan, store, progress), store)
            return kubernetes.kustomize(kubectl, files, directory, store=store)

        objects = containers.objects(plan.recipe, plan.manifests, images, kustomize)
        kernel = kernels.read(plan, store, progress)
        firmware_debs = [deb for _, deb in opened.get("firmware", ())]
        selection = firmware.select(plan.recipe.firmware, firmware_debs, kernel)
        _list_missing(plan, selection, [deb for _, deb in opened["root"]], progress)
        return Inputs(
            groups=opened,
            kernel=kernel,
            firmware=selection,
            microcode=union(deb.tree for _, deb in opened.get("microcode", ())),
            initrd=union(deb.tree for _, deb in opened["initrd"]),
            boot=union(deb.tree for _, deb in opened["boot"]),
            loader=board_loader(plan, store, progress),
            images=images,
            services=containers.system_services(plan, opened, contents),
            workloads=objects.tree,
            absent=Absent(
                devices=contents.devices(plan.recipe),
                unseen=objects.unseen,
                volumes=objects.volumes,
                drivers=tuple(sorted(objects.drivers)),
            ),
        )


def board_loader(plan: BuildPlan, store: Store, progress: Progress) -> Loader | None:
    """The files of the board with their places; None without a board. Raises RecipeError."""
    board = plan.recipe.board
    if board is None:
        return None
    files = board_files(plan, store, progress)
    recipe = plan.recipe
    return boards.loader(board, files, cmdline=recipe.kernel.cmdline, esp=recipe.image.esp)


def board_files(plan: BuildPlan, store: Store, progress: Progress) -> Tree:
    """The kernel's package (device trees), the board's, and the project's files over them."""
    kernel = kernels.read(plan, store, progress)
    packages = debian_packages.group(plan, BOARD, store, progress)
    return union([kernel.package, *(deb.tree for deb in packages), plan.board])


def board_model(plan: BuildPlan, store: Store, progress: Progress) -> BoardModel | None:
    """QEMU's model of the board; None without a board. Raises RecipeError without a model."""
    board = plan.recipe.board
    if board is None:
        return None
    if board.qemu is None:
        raise RecipeError(f"QEMU has no model of the board {board.name}")
    nodes = boards.emulator_files(board, board_files(plan, store, progress))
    files = tuple((option, _stored(node.read(), store)) for option, node in nodes.items())
    return BoardModel(name=board.name, model=board.qemu, files=files)


def _stored(data: bytes, store: Store) -> Path:
    name = key("emulator-file", hashlib.sha256(data).hexdigest())
    return store.derived(name, lambda path: _write(path, data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _list_missing(
    plan: BuildPlan, selection: Selection, root: Iterable[Deb], progress: Progress
) -> None:
    trees = [deb.tree for deb in root]
    for module, names in selection.missing.items():
        places = {name: f"{firmware.DIRECTORY}/{name}" for name in names}
        absent = [name for name in names if not any(places[name] in tree for tree in trees)]
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            progress.note(
                f"{plan.arch.name}: the module {module} may ask for firmware that no package of "
                f"the recipe has: {', '.join(absent[:3])}{more}"
            )
            progress.debug(f"{module}: {', '.join(absent)}")


def _host_k3s(plan: BuildPlan, store: Store, progress: Progress) -> K3sBundle:
    """K3s for this host in the version of the image. Its kubectl renders kustomizations."""
    host = tools.build_host()
    return get_k3s(replace(plan, arch=host), store, progress)
