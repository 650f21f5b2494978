"""Manifests of a workload → the one file that K3s applies, checked before it is flashed.

A pod whose image is not in the disk image would wait for a network that may never come, and
nobody would see it before the field: so every image that manifests name must be there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import yaml

from edgeimg.errors import RecipeError
from edgeimg.recipe.workloads import full_reference
from edgeimg.tree import Kind, Tree

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 4 << 20
_CONTAINERS = ("containers", "initContainers")
_MOST = 20
"""Problems told in one message."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """An image that a manifest names, and where."""

    image: str
    policy: str
    line: int


def texts(files: Tree) -> dict[str, str]:
    """The manifests among `files`, by path. Raises RecipeError for what is not text."""
    found = {}
    for path, node in files.items():
        if node.kind is Kind.FILE and path.endswith(_SUFFIXES):
            if node.size > _MAX_BYTES:
                raise RecipeError(f"{path} is larger than {_MAX_BYTES >> 20} MiB: not a manifest")
            try:
                found[path] = node.read().decode()
            except UnicodeDecodeError:
                raise RecipeError(f"{path}: not UTF-8 text, which YAML asks for") from None
    return found


def join(workload: str, manifests: dict[str, str], images: Collection[str]) -> bytes:
    """One file of all `manifests` (text by path); `images` are the references that are there.

    Raises RecipeError with one line for each problem: what is no Kubernetes object, images that
    are not part of the disk image, pods that would ask a registry for them all the same.
    """
    if not manifests:
        raise RecipeError(f"workloads.{workload}.manifests: there are no manifests")
    problems = [
        problem for path, text in manifests.items() for problem in _problems(path, text, images)
    ]
    if problems:
        more = [f"  and {len(problems) - _MOST} more"] if len(problems) > _MOST else []
        lines = [f"  {line}" for line in problems[:_MOST]]
        raise RecipeError("\n".join([f"workloads.{workload} would not run:", *lines, *more]))
    return "".join(f"---\n{text.rstrip()}\n" for text in manifests.values()).encode()


def _problems(path: str, text: str, images: Collection[str]) -> Iterator[str]:
    try:
        documents = [node for node in yaml.compose_all(text, yaml.SafeLoader) if not _empty(node)]
        named = [found for document in documents for found in _images(document, set())]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        yield f"{path}:{line}: not YAML: {error.problem}"
        return
    except (yaml.YAMLError, RecursionError) as error:
        yield f"{path}:1: not YAML: {str(error).splitlines()[0] if str(error) else 'too deep'}"
        return
    for document in documents:
        fields = _fields(document)
        missing = [key for key in ("apiVersion", "kind") if key not in fields]
        if missing:
            line = document.start_mark.line + 1
            yield f"{path}:{line}: no Kubernetes object: it has no {' and no '.join(missing)}"
    for found in named:
        yield from _of_image(path, found, images)


def _empty(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _of_image(path: str, found: Named, images: Collection[str]) -> Iterator[str]:
    reference = full_reference(found.image)
    if reference not in images:
        yield (
            f"{path}:{found.line}: the image {found.image} is not part of the disk image: add "
            f'"{reference}" to the workload\'s images'
        )
    elif found.policy == "Always" or (not found.policy and reference.endswith(":latest")):
        yield (
            f"{path}:{found.line}: the pod would ask a registry for {found.image} at every start: "
            "write imagePullPolicy: IfNotPresent"
        )


def _images(node: yaml.Node, seen: set[int]) -> Iterator[Named]:
    """What the containers below `node` run; anchors are looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _images(item, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in _fields(node).items():
            if key in _CONTAINERS and isinstance(value, yaml.SequenceNode):
                yield from (named for item in value.value for named in _container(item))
            yield from _images(value, seen)


def _container(node: yaml.Node) -> Iterator[Named]:
    fields = _fields(node)
    image, policy = fields.get("image"), fields.get("imagePullPolicy")
    if isinstance(image, yaml.ScalarNode) and re.fullmatch(r"\S+", image.value):
        yield Named(
            image=image.value,
            policy=policy.value if isinstance(policy, yaml.ScalarNode) else "",
            line=image.start_mark.line + 1,
        )


def _fields(node: yaml.Node) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
