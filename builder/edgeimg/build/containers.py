"""What was fetched → containers in the root: services of the system, images and objects of pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import Store
from edgeimg.errors import RecipeError
from edgeimg.lock.model import Package
from edgeimg.services import compose as services
from edgeimg.services import image as container_image
from edgeimg.services import seccomp
from edgeimg.services.image import Image
from edgeimg.sources import k3s_airgap
from edgeimg.sources.builtin_images import builtin_images
from edgeimg.sources.deb import Deb
from edgeimg.sources.oci import ContainerImage
from edgeimg.sources.oci_archive import open_image
from edgeimg.tree import Tree, file
from edgeimg.workloads import compose as workloads
from edgeimg.workloads import images as pods
from edgeimg.workloads import manifests

Groups = Mapping[str, Sequence[tuple[Package, Deb]]]
Kustomize = Callable[[Tree, str], bytes]
"""What `kubectl kustomize` makes of a directory in a tree."""


def system_services(
    plan: BuildPlan, groups: Groups, archives: Mapping[str, Path], store: Store
) -> Tree:
    """The recipe's services: bundles and units, at their place in the root.

    `archives` are the container images that some are made of, by service. Raises ArchiveError.
    """
    if not plan.recipe.services:
        return Tree()
    shared = _debs(groups, "services")
    profile = services.program(shared, seccomp.PATH)
    parts = services.Parts(
        packages={name: _debs(groups, f"service:{name}") for name in plan.recipe.services},
        images={
            name: _load(plan, name, path, store, f"service:{name}")
            for name, path in archives.items()
            if name in plan.recipe.services
        },
        given=plan.given,
        init=services.program(shared, "usr/bin/catatonit"),
        seccomp=file(profile).read(),
    )
    return services.compose(plan.recipe.services, plan.arch, parts)


def pod_images(plan: BuildPlan, groups: Groups, archives: Mapping[str, Path], store: Store) -> Tree:
    """The built-in images and those of the workloads. Raises ArchiveError, ArchitectureError."""
    builtin = {package.name: deb for package, deb in groups["containers"]}
    made = [
        pods.make(
            reference,
            image,
            plan.arch,
            packages=_debs(groups, f"image:{reference}"),
            image=_load(plan, reference, archives[reference], store, f"image:{reference}")
            if reference in archives
            else None,
            given=plan.given.get(reference, Tree()),
        )
        for reference, image in plan.recipe.pod_images.items()
    ]
    brought = _airgap(plan, archives, store)
    images = [*builtin_images(plan.arch, builtin), *brought, *made]
    return pods.compose(images, plan.arch, plan.recipe.image.epoch)


def _airgap(
    plan: BuildPlan, archives: Mapping[str, Path], store: Store
) -> Iterator[ContainerImage]:
    """The images of K3s' components that the recipe asks for."""
    if k3s_airgap.KEY not in archives or plan.inputs.airgap is None:
        return
    archive = k3s_airgap.unpack(archives[k3s_airgap.KEY], plan.inputs.airgap, store)
    for reference, tag in k3s_airgap.wanted(archive, plan.recipe.k3s.airgap).items():
        with open_image(archive, plan.arch, tag) as image:
            found = container_image.described(image, store, f"image:{reference}")
        yield ContainerImage(name=reference, tree=found.tree, run=found.run)


def objects(plan: BuildPlan, images: Tree, kustomize: Kustomize) -> Tree:
    """The workloads' manifests, at their place in the root; `images` is what `pod_images` made.

    Raises RecipeError for what would not run.
    """
    known = pods.listed(images)
    made = {}
    for name, workload in plan.recipe.workloads.items():
        files = plan.manifests[name]
        below = workload.kustomization or ""
        if any(_in(below, entry) in files for entry in manifests.KUSTOMIZATIONS):
            texts = {f"{workload.manifests} (rendered)": kustomize(files, below).decode()}
        elif below:
            raise RecipeError(
                f"workloads.{name}.kustomization: there is no kustomization.yaml in "
                f"{workload.manifests}/{below}"
            )
        else:
            texts = manifests.texts(files)
        made[name] = manifests.join(name, texts, known)
    return workloads.compose(made)


def _in(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}" if directory else name


def _debs(groups: Groups, group: str) -> list[Deb]:
    return [deb for _, deb in groups.get(group, ())]


def _load(plan: BuildPlan, name: str, path: Path, store: Store, origin: str) -> Image:
    pin = plan.inputs.images[name]
    return container_image.load(path, pin, plan.arch, store=store, origin=origin)
