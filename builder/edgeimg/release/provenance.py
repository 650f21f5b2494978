"""Where the bytes of a release come from: an in-toto statement with an SLSA v1 predicate.

in-toto Attestation Framework, Statement v1; SLSA Provenance v1. No clock and no host is in it, so
that equal releases have equal statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeimg.build.plan import BuildPlan
from edgeimg.image.manifest import K3sFacts, encode
from edgeimg.lock.model import Package
from edgeimg.release.gates import Hold
from edgeimg.sbom import Distribution, purl

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edgeimg:release:1"
BUILDER = "urn:edgeimg:builder"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Inputs of a release besides its plans. Digests are SHA-256."""

    recipe: str
    """Name of the recipe's file."""
    recipes: Mapping[str, str]
    """Digests of it and of all that it includes, by path in the project."""
    lock_sha256: str
    k3s: Mapping[str, K3sFacts]
    """Facts of the K3s inside, by architecture, as in the manifest; images without K3s are left
    out."""
    distribution: Distribution
    """The distribution of the packages, as in the bills of materials."""
    tools: Sequence[Package]
    """The build host's programs."""
    builder_version: str
    builder_digest: str
    """Of edgeimg's own code."""
    overrides: Sequence[Hold]


def statement(subjects: Mapping[str, str], plans: Sequence[BuildPlan], origin: Origin) -> bytes:
    """The statement about the files `subjects` (SHA-256 by name), as indented JSON."""
    return encode(
        {
            "_type": STATEMENT,
            "subject": [
                {"name": name, "digest": {"sha256": digest}}
                for name, digest in sorted(subjects.items())
            ],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "recipe": origin.recipe,
                        "architectures": [plan.arch.name for plan in plans],
                        "k3s": {plan.arch.name: plan.recipe.k3s.source for plan in plans},
                        "overrides": [hold.to_json() for hold in origin.overrides],
                    },
                    "internalParameters": {
                        "epoch": {plan.arch.name: plan.recipe.image.epoch for plan in plans},
                        "overlays": {plan.arch.name: plan.overlay.digest() for plan in plans},
                    },
                    "resolvedDependencies": _dependencies(plans, origin),
                },
                "runDetails": {
                    "builder": {
                        "id": BUILDER,
                        "version": {
                            "edgeimg": origin.builder_version,
                            "sources": origin.builder_digest,
                        },
                    },
                },
            },
        }
    )


def _dependencies(plans: Sequence[BuildPlan], origin: Origin) -> list[dict[str, object]]:
    packages = {package for plan in plans for package in plan.inputs.packages()}
    images = {pin for plan in plans for pin in plan.inputs.images.values()}
    return [
        *(_resource(path, sha256) for path, sha256 in sorted(origin.recipes.items())),
        _resource(origin.recipe.removesuffix(".toml") + ".lock.toml", origin.lock_sha256),
        *(
            _resource(f"k3s-{arch}", facts.sha256, version=facts.version)
            for arch, facts in sorted(origin.k3s.items())
        ),
        *(
            _resource(plan.inputs.kernel.path, plan.inputs.kernel.sha256)
            for plan in plans
            if plan.inputs.kernel
        ),
        *(
            _resource(package.name, package.sha256, uri=_purl(package, origin.distribution))
            for package in sorted(packages | set(origin.tools))
        ),
        *(
            _resource(pin.reference, pin.digest.removeprefix("sha256:"))
            for pin in sorted(images, key=lambda pin: (pin.reference, pin.digest))
        ),
    ]


def _purl(package: Package, distribution: Distribution) -> str:
    return purl.debian(package.name, package.version, arch=package.arch, distribution=distribution)


def _resource(name: str, sha256: str, **facts: str) -> dict[str, object]:
    """A ResourceDescriptor (in-toto v1)."""
    uri = {"uri": facts["uri"]} if "uri" in facts else {}
    annotations = {"annotations": {"version": facts["version"]}} if "version" in facts else {}
    return {"name": name, **uri, "digest": {"sha256": sha256}, **annotations}
