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
from edgeimg.recipe.image_name import full_reference, is_latest, is_valid
from edgeimg.text import json_text, yaml_text
from edgeimg.tree import Kind, Tree

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 4 << 20
_MAX_NODES = 400_000
_MAX_MERGED = 50
"""Objects that merge keys bring together in one."""
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
"""Lists of containers, wherever they stand: also in custom resources."""
_CONTAINER = ("spec", "container", "script", "sidecar")
"""Objects that name an image themselves, as custom resources have them."""
_TEMPLATE = "{{"
_UNRENDERED = "a template that is not rendered ('{{'): render it first (`helm template`)"
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
                found[path] = node.read().decode("utf-8-sig")
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
    # JSON may be indented with tabs, which YAML takes for an error; texts cannot hold them.
    is_json = text.lstrip().startswith("{") and _is_json(text)
    try:
        found = yaml_text.compose(text.replace("\t", " ") if is_json else text, nodes=_MAX_NODES)
        documents = [node for node in found if not _empty(node)]
        for document in documents:
            _check_keys(document, set())
        named = [found for document in documents for found in _images(document, set())]
    except yaml_text.MalformedError as error:
        yield f"{path}:{error.line}: {_UNRENDERED if _TEMPLATE in text else error}"
        return
    except RecursionError:
        yield f"{path}:1: not YAML: nested too deeply"
        return
    for document in documents:
        yield from _of_object(path, document)
    for image in named:
        yield from _of_image(path, image, images)


def _is_json(text: str) -> bool:
    try:
        json_text.parse(text.encode())
    except ValueError:
        return False
    return True


def _check_keys(node: yaml.Node, seen: set[int]) -> None:
    """What strict decoding refuses (sigs.k8s.io/yaml): a key twice, and keys that are no texts."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, seen)
        return
    keys: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise yaml_text.MalformedError(line, "a key that is not a text")
        if key.value in keys:
            raise yaml_text.MalformedError(line, f"the key {key.value!r} is there twice")
        keys.add(key.value)
        _check_keys(value, seen)


def _of_object(path: str, node: yaml.Node) -> Iterator[str]:
    """What makes a document no object, or a list of other things than objects."""
    fields, line = _fields(node), node.start_mark.line + 1
    missing = [key for key in ("apiVersion", "kind") if key not in fields]
    if missing:
        yield f"{path}:{line}: no Kubernetes object: it has no {' and no '.join(missing)}"
        return
    metadata = _fields(fields["metadata"]) if "metadata" in fields else {}
    for value in (fields["apiVersion"], fields["kind"], *metadata.values()):
        if isinstance(value, yaml.ScalarNode) and _TEMPLATE in value.value:
            yield f"{path}:{value.start_mark.line + 1}: {_UNRENDERED}"
    items = fields.get("items")
    if fields["kind"].value == "List" and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _of_object(path, item)


def _empty(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _of_image(path: str, found: Named, images: Collection[str]) -> Iterator[str]:
    if not found.image or _TEMPLATE in found.image or re.search(r"\s", found.image):
        why = _UNRENDERED if _TEMPLATE in found.image else "expected the name of an image"
        yield f"{path}:{found.line}: {why}"
        return
    reference = full_reference(found.image)
    if not is_valid(found.image):
        yield f"{path}:{found.line}: {found.image} is not the name of an image"
    elif reference not in images:
        yield (
            f"{path}:{found.line}: the image {found.image} is not part of the disk image: add "
            f'"{reference}" to the workload\'s images'
        )
    elif found.policy == "Always" or (not found.policy and is_latest(found.image)):
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
            if key in _CONTAINERS:
                # Some custom resources have them by name.
                inside = value.value if isinstance(value, yaml.SequenceNode) else [
                    one for one in _fields(value).values() if _is_text(_fields(one).get("image"))
                ]  # fmt: skip
                yield from (named for item in inside for named in _container(item))
            elif key == "volumes" and isinstance(value, yaml.SequenceNode):
                yield from (named for item in value.value for named in _volume(item))
            elif key in _CONTAINER and _is_text(_fields(value).get("image")):
                yield from _container(value)
            yield from _images(value, seen)


def _container(node: yaml.Node) -> Iterator[Named]:
    fields = _fields(node)
    if image := fields.get("image"):
        yield _named(image, fields.get("imagePullPolicy"))


def _volume(node: yaml.Node) -> Iterator[Named]:
    """A volume that is an image (KEP-4639)."""
    fields = _fields(_fields(node).get("image"))
    if reference := fields.get("reference"):
        yield _named(reference, fields.get("pullPolicy"))


def _named(image: yaml.Node, policy: yaml.Node | None) -> Named:
    return Named(
        image=str(image.value) if _is_text(image) else "",
        policy=str(policy.value) if policy is not None and _is_text(policy) else "",
        line=image.start_mark.line + 1,
    )


def _is_text(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _fields(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """The fields of an object, those of merge keys (`<<`) included, which others override."""
    return _merged(node, set())


def _merged(node: yaml.Node | None, seen: set[int]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode) or id(node) in seen:
        return {}
    seen.add(id(node))
    if len(seen) > _MAX_MERGED:
        raise yaml_text.MalformedError(node.start_mark.line + 1, "too many merge keys")
    fields = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if merge := fields.pop("<<", None):
        for source in merge.value if isinstance(merge, yaml.SequenceNode) else [merge]:
            fields = _merged(source, seen) | fields
    return fields
