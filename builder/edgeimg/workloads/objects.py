"""The nodes of a manifest as Kubernetes reads them: fields, images, kinds.

Merge keys (`<<`) are resolved (YAML 1.1, as sigs.k8s.io/yaml). Errors are yaml_text.MalformedError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from edgeimg.text import yaml_text

_MAX_MERGED = 50
"""Objects that merge keys bring together in one."""
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers", "sidecars", "steps")
"""Lists of containers, wherever they stand: also in custom resources."""
_CONTAINER = ("spec", "container", "script", "sidecar")
"""Objects that name an image themselves, as custom resources have them."""


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """An image that a manifest names, and where."""

    image: str
    policy: str
    line: int


def descend(root: yaml.Node) -> Iterator[yaml.Node]:
    """A node and all nodes below it, those of merge keys included. Each anchor is read once."""
    visited: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting += reversed(fields(node).values())


def images(node: yaml.Node, visited: set[int]) -> Iterator[ImageReference]:
    """The images of the containers below `node`. Each anchor is read once."""
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from images(item, visited)
    elif isinstance(node, yaml.MappingNode):
        for key, value in fields(node).items():
            if key in _CONTAINERS:
                # Some custom resources have them by name.
                inside = value.value if isinstance(value, yaml.SequenceNode) else [
                    field for field in fields(value).values() if is_text(fields(field).get("image"))
                ]  # fmt: skip
                yield from (reference for item in inside for reference in _container(item))
            elif key == "volumes" and isinstance(value, yaml.SequenceNode):
                yield from (reference for item in value.value for reference in _volume(item))
            elif key in _CONTAINER and is_text(fields(value).get("image")):
                yield from _container(value)
            yield from images(value, visited)


def _container(node: yaml.Node) -> Iterator[ImageReference]:
    container = fields(node)
    if image := container.get("image"):
        yield _reference(image, container.get("imagePullPolicy"))


def _volume(node: yaml.Node) -> Iterator[ImageReference]:
    """A volume that is an image (KEP-4639)."""
    image = fields(fields(node).get("image"))
    if reference := image.get("reference"):
        yield _reference(reference, image.get("pullPolicy"))


def _reference(image: yaml.Node, policy: yaml.Node | None) -> ImageReference:
    return ImageReference(
        image=text(image),
        policy=text(policy),
        line=image.start_mark.line + 1,
    )


def is_text(node: yaml.Node | None) -> bool:
    """Whether a node is a single value."""
    return isinstance(node, yaml.ScalarNode)


def fields(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """The fields of an object, those of merge keys (`<<`) included, which others override."""
    return _merged(node, set())


def text(node: yaml.Node | None) -> str:
    """The text of a scalar; empty for other nodes."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def listed(node: yaml.Node) -> Iterator[yaml.Node]:
    """An object, or the items of a `List`."""
    items = fields(node).get("items")
    if text(fields(node).get("kind")) == "List" and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from listed(item)
    else:
        yield node


def _merged(node: yaml.Node | None, visited: set[int]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode) or id(node) in visited:
        return {}
    visited.add(id(node))
    if len(visited) > _MAX_MERGED:
        raise yaml_text.MalformedError(node.start_mark.line + 1, "too many merge keys")
    merged = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    if merge := merged.pop("<<", None):
        for source in merge.value if isinstance(merge, yaml.SequenceNode) else [merge]:
            merged = _merged(source, visited) | merged
    return merged
