"""What an image says about itself: its list of contents, and its manifest."""

from __future__ import annotations

from collections.abc import Mapping

from edgeimg import __version__, tools
from edgeimg.build.plan import BuildPlan
from edgeimg.image.manifest import (
    Contents,
    FileFacts,
    K3sFacts,
    Manifest,
    PackageFacts,
    ProvisionFacts,
    ServiceFacts,
)
from edgeimg.pack.image import Packed
from edgeimg.services.layout import CONTAINERS, SERVICES
from edgeimg.sources.k3s import K3sBundle
from edgeimg.tree import Tree


def contents(plan: BuildPlan, root: Tree, k3s: K3sBundle | None, *, kernel: str) -> Contents:
    """The list that the root itself holds. `kernel` is its version."""
    return Contents(
        id=plan.recipe.image.id,
        version=plan.recipe.image.version,
        arch=plan.arch.name,
        epoch=plan.recipe.image.epoch,
        kernel=kernel,
        k3s=K3sFacts(version=k3s.version, source=k3s.source, sha256=k3s.sha256, standin=k3s.standin)
        if k3s
        else None,
        packages=tuple(
            PackageFacts(name=package.name, version=package.version, arch=package.arch)
            for package in plan.inputs.packages()
        ),
        services=_services(plan, root),
        components=root.size_by_origin(share=CONTAINERS),
        provision=ProvisionFacts(
            allow=plan.recipe.provision.allowed, signed=plan.recipe.provision.key is not None
        ),
    )


def manifest(
    plan: BuildPlan, contents: Contents, root: Tree, packed: Packed, *, kernel: Mapping[str, str]
) -> Manifest:
    """The file beside a finished image. `kernel` are the options of its configuration."""
    return Manifest(
        contents=contents,
        root_hash=packed.root_hash,
        disk=packed.plan,
        sizes=packed.sizes,
        tools=tuple(
            PackageFacts(name=package.name, version=package.version, arch=package.arch)
            for package in tools.packages(plan.lock, "pack", tools.build_host())
        ),
        digests={
            "recipe": plan.recipe.digest(),
            "lock": plan.lock.recipe_digest,
            "build": plan.key,
        },
        edgeimg=__version__,
        builtin=plan.builtin,
        unsigned_index=plan.inputs.unsigned_index,
        files={
            path: FileFacts(size=root[path].size, origin=root[path].origin, sha256=digest)
            for path, digest in root.digests().items()
        },
        kernel_config=dict(kernel),
    )


def _services(plan: BuildPlan, root: Tree) -> tuple[ServiceFacts, ...]:
    facts = []
    for name, service in sorted(plan.recipe.services.items()):
        kind, source = service.source(plan.arch.name)
        pin = plan.inputs.images.get(name)
        facts.append(
            ServiceFacts(
                name=name,
                kind=kind,
                source=source,
                image=pin.digest if pin else "",
                digest=Tree(dict(root.under(f"{SERVICES}/{name}"))).digest(),
            )
        )
    return tuple(facts)
