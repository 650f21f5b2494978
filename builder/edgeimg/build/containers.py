"""Containers of the root: services of the system, images and Kubernetes objects of pods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import Store, sha256_file
from edgeimg.errors import RecipeError
from edgeimg.lock.model import Package
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.workloads import DISABLED_KINDS
from edgeimg.services import compose, seccomp
from edgeimg.services.image import Image, load_image, read_described
from edgeimg.sources import container_images, k3s_airgap
from edgeimg.sources.builtin_images import builtin_images
from edgeimg.sources.deb import Deb
from edgeimg.sources.oci import ContainerImage
from edgeimg.sources.oci_archive import open_image
from edgeimg.tree import Tree, file
from edgeimg.workloads import disabled_kinds, manifests
from edgeimg.workloads.compose import compose_manifests
from edgeimg.workloads.images import compose_images, make_pod_images, read_listing
from edgeimg.workloads.operators import Unseen
from edgeimg.workloads.volumes import Volume

Groups = Mapping[str, Sequence[tuple[Package, Deb]]]
Kustomize = Callable[[Tree, str], bytes]
"""Runs `kubectl kustomize` on a directory of a tree."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The container images that others made, unpacked."""

    recipe: Mapping[str, Image]
    """Those that the recipe names, by service or reference."""
    airgap: Mapping[str, Image]
    """Those of K3s' components, by reference."""

    def devices(self, recipe: Recipe) -> dict[tuple[str, str], tuple[str, ...]]:
        """Devices that are left out of each image, by the recipe's key and the image's name."""
        keys = {
            reference: f"workloads.{name}.images"
            for name, workload in recipe.workloads.items()
            for reference in workload.images
        }
        return {
            **{
                (keys.get(name, f"services.{name}"), name): image.devices
                for name, image in self.recipe.items()
            },
            **{("k3s.airgap", name): image.devices for name, image in self.airgap.items()},
        }


def images(plan: BuildPlan, archives: Mapping[str, Path], store: Store) -> Images:
    """The images in `archives`, by their names. Raises ArchiveError, ArchitectureError."""
    references = plan.recipe.pod_images
    contents = container_images.contents(plan.recipe)
    recipe = {
        name: load_image(
            path,
            plan.inputs.images[name],
            plan.arch,
            tag=contents[name].image_tag(plan.arch.name),
            store=store,
            origin=f"image:{name}" if name in references else f"service:{name}",
        )
        for name, path in archives.items()
        if name in references or name in plan.recipe.services
    }
    return Images(recipe=recipe, airgap=_airgap(plan, archives, store))


def system_services(plan: BuildPlan, groups: Groups, images: Images) -> Tree:
    """The recipe's services: bundles and units, at their place in the root.

    Raises ArchiveError.
    """
    if not plan.recipe.services:
        return Tree()
    shared = _debs(groups, "services")
    profile = compose.program(shared, seccomp.PATH)
    parts = compose.Parts(
        packages={name: _debs(groups, f"service:{name}") for name in plan.recipe.services},
        images={
            name: image for name, image in images.recipe.items() if name in plan.recipe.services
        },
        project_files=plan.project_files,
        init=compose.program(shared, "usr/bin/catatonit"),
        seccomp=file(profile).read(),
    )
    return compose.compose(plan.recipe.services, plan.arch, parts)


def pod_images(plan: BuildPlan, groups: Groups, images: Images) -> Tree:
    """The built-in images and those of the workloads; none without K3s. Raises ArchiveError."""
    if plan.recipe.k3s.is_absent:
        return Tree()
    builtin = {package.name: deb for package, deb in groups["containers"]}
    own = [
        make_pod_images(
            reference,
            image,
            plan.arch,
            packages=_debs(groups, f"image:{reference}"),
            image=images.recipe.get(reference),
            project_files=plan.project_files.get(reference, Tree()),
        )
        for reference, image in plan.recipe.pod_images.items()
    ]
    airgap = [
        ContainerImage(name=reference, tree=image.tree, run=image.run)
        for reference, image in images.airgap.items()
    ]
    everything = [*builtin_images(plan.arch, builtin), *airgap, *own]
    return compose_images(everything, plan.arch, plan.recipe.image.epoch)


def _airgap(plan: BuildPlan, archives: Mapping[str, Path], store: Store) -> dict[str, Image]:
    """The images of the K3s components that the recipe selects."""
    if k3s_airgap.KEY not in archives:
        return {}
    images = {}
    blob, asset = archives[k3s_airgap.KEY], plan.inputs.airgap
    # The stand-in's is compiled here, and no lock has it.
    if plan.recipe.k3s.source == "standin" or asset is None:
        digest = sha256_file(blob)
    else:
        digest = asset.sha256
    archive = k3s_airgap.unpack(blob, digest, store)
    for reference, tag in k3s_airgap.select(archive, plan.recipe.k3s.airgap).items():
        with open_image(archive, plan.arch, tag, label=k3s_airgap.LABEL) as image:
            images[reference] = read_described(image, store, f"image:{reference}")
    return images


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The Kubernetes objects of the workloads."""

    tree: Tree
    """The manifests at their place in the root."""
    unseen: Mapping[str, tuple[Unseen, ...]]
    """By workload: objects that may start pods of images that neither manifests nor recipe name."""
    volumes: Mapping[str, tuple[Volume, ...]]
    """By workload: volumes that need more than the kubelet."""
    drivers: frozenset[str]
    """CSI drivers that the workloads register."""


def objects(
    recipe: Recipe, project_files: Mapping[str, Tree], images: Tree, kustomize: Kustomize
) -> Objects:
    """The workloads' manifests. `project_files` has the files of each workload, `images` the result
    of `pod_images`.

    An image of a workload that no manifest names is for objects that start pods by themselves.
    Raises RecipeError for manifests that would not run.
    """
    available = read_listing(images)
    joined = {}
    for name, workload in recipe.workloads.items():
        files = project_files[name]
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
        joined[name] = manifests.join(name, texts, available)
    image_names = frozenset[str]().union(*(item.images for item in joined.values()))
    policies = {} if recipe.k3s.is_absent else {DISABLED_KINDS: disabled_kinds.manifest(recipe.k3s)}
    return Objects(
        tree=compose_manifests({**{name: item.data for name, item in joined.items()}, **policies}),
        unseen={
            name: tuple(
                unseen
                for unseen in item.unseen
                if unseen.chart or image_names.issuperset(recipe.workloads[name].images)
            )
            for name, item in joined.items()
        },
        volumes={name: item.volumes for name, item in joined.items()},
        drivers=frozenset[str]().union(*(item.drivers for item in joined.values())),
    )


def _in(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}" if directory else name


def _debs(groups: Groups, group: str) -> list[Deb]:
    return [deb for _, deb in groups.get(group, ())]
