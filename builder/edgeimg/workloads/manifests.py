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
from edgeimg.workloads import kinds, names, objects, operators, scalars
from edgeimg.workloads.objects import ImageReference
from edgeimg.workloads.operators import Unseen, unseen
from edgeimg.workloads.volumes import Volume, drivers, volumes

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 4 << 20
_MAX_NODES = 400_000
_TEMPLATE = "{{"
_UNRENDERED = "a template that is not rendered ('{{'): render it first (`helm template`)"
_HELM = re.compile(r"\{\{-?\s*(\.(Values|Release|Chart|Capabilities)\b|(include|toYaml|tpl)\s)")
"""What only charts have; other programs have templates of their own in texts."""
_SEPARATOR = re.compile(r"^---(?![ \t]*(#.*)?\r?$).*", re.MULTILINE)
"""A document that begins in the line of its separator, or a line of more dashes."""
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_POLICIES = ("", "Always", "IfNotPresent", "Never")
_KUSTOMIZATION = (
    "a kustomization, which K3s does not apply: name its file kustomization.yaml, and its "
    "directory in 'kustomization' of the workload"
)
_WITH_TEMPLATES = ("ConfigMap", "Secret", "CustomResourceDefinition")
"""Kinds whose texts are other programs', or descriptions."""
_MOST = 20
"""Problems of one message."""


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """The manifests of one workload."""

    data: bytes
    """The one file that K3s applies."""
    images: frozenset[str]
    """Full names of the images that they name."""
    unseen: tuple[Unseen, ...]
    """Objects that may start pods of other images, sorted."""
    volumes: tuple[Volume, ...]
    """Volumes that need more than the kubelet, sorted."""
    drivers: frozenset[str]
    """Names of the CSI drivers that they register."""


def texts(files: Tree) -> dict[str, str]:
    """The manifests among `files`, by path. Raises RecipeError for files that are not text."""
    manifests = {}
    for path, node in files.items():
        if node.kind is Kind.FILE and path.endswith(_SUFFIXES):
            if node.size > _MAX_BYTES:
                raise RecipeError(f"{path} is larger than {_MAX_BYTES >> 20} MiB: not a manifest")
            try:
                manifests[path] = node.read().decode("utf-8-sig")
            except UnicodeDecodeError:
                raise RecipeError(f"{path}: not UTF-8 text, which YAML requires") from None
    return manifests


def join(workload: str, manifests: dict[str, str], images: Collection[str]) -> Manifests:
    """One file of all `manifests` (text by path); `images` are the references that are there.

    Raises RecipeError with one line for each problem: documents that are no Kubernetes objects,
    images that the disk image lacks, pods that would ask a registry for an image anyway.
    """
    if not manifests:
        raise RecipeError(f"workloads.{workload}.manifests: there are no manifests")
    problems: list[str] = []
    named: set[str] = set()
    unseen_objects: set[Unseen] = set()
    mounted: set[Volume] = set()
    registered: set[str] = set()
    for path, text in manifests.items():
        try:
            documents = _documents(text)
            containers = [item for node in documents for item in objects.images(node, set())]
            unseen_objects.update(item for node in documents for item in unseen(node))
            mounted.update(item for node in documents for item in volumes(node))
            registered.update(name for node in documents for name in drivers(node))
        except yaml_text.MalformedError as error:
            reason = _UNRENDERED if _TEMPLATE in text else error
            problems.append(f"{path}:{error.line}: {reason}")
        except RecursionError:
            problems.append(f"{path}:1: not YAML: nested too deeply")
        else:
            named.update(full_reference(item.image) for item in containers)
            problems += [item for node in documents for item in _of_object(path, node)]
            problems += [line for item in containers for line in _of_image(path, item, images)]
    if problems:
        more = [f"  and {len(problems) - _MOST} more"] if len(problems) > _MOST else []
        lines = [f"  {line}" for line in problems[:_MOST]]
        raise RecipeError("\n".join([f"workloads.{workload} would not run:", *lines, *more]))
    data = "".join(f"---\n{_ended(text)}" for text in manifests.values()).encode()
    return Manifests(
        data=data,
        images=frozenset(named),
        unseen=tuple(sorted(unseen_objects)),
        volumes=tuple(sorted(mounted)),
        drivers=frozenset(registered),
    )


def _ended(text: str) -> str:
    """A file with one end of its last line, unless its blank lines may belong to a text."""
    return f"{text}\n" if re.search(r"[|>][1-9]?\+", text) else f"{text.rstrip()}\n"


def _documents(text: str) -> list[yaml.Node]:
    if match := _SEPARATOR.search(text):
        raise yaml_text.MalformedError(
            text.count("\n", 0, match.start()) + 1,
            f"K3s takes no {match[0][:20].strip()!r}: expected '---' alone in its line",
        )
    # JSON may be indented with tabs, which YAML takes for an error; texts cannot hold them. It has
    # two escapes for one character, where YAML has one.
    if text.lstrip().startswith("{") and _is_json(text):
        text = _SURROGATES.sub(_character, text.replace("\t", " "))
    composed = yaml_text.compose(text, nodes=_MAX_NODES)
    documents = [node for node in composed if not _empty(node)]
    for document in documents:
        scalars.check_keys(document, set())
    return documents


def _character(match: re.Match[str]) -> str:
    high, low = (int(text, 16) for text in match.groups())
    return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))


def _is_json(text: str) -> bool:
    try:
        json_text.parse(text.encode())
    except ValueError:
        return False
    return True


def _of_object(path: str, node: yaml.Node) -> Iterator[str]:
    """The reasons why a document is neither an object nor a list of objects."""
    fields, line = objects.fields(node), node.start_mark.line + 1
    missing = [key for key in ("apiVersion", "kind") if key not in fields]
    if path.rpartition("/")[2] in KUSTOMIZATIONS or _is_kustomization(fields):
        yield f"{path}:{line}: {_KUSTOMIZATION}"
        return
    if missing:
        yield f"{path}:{line}: no Kubernetes object: it has no {' and no '.join(missing)}"
        return
    metadata = objects.fields(fields["metadata"]) if "metadata" in fields else {}
    for value in (fields["apiVersion"], fields["kind"], *metadata.values()):
        if isinstance(value, yaml.ScalarNode) and _TEMPLATE in value.value:
            yield f"{path}:{value.start_mark.line + 1}: {_UNRENDERED}"
    version, kind = objects.text(fields["apiVersion"]), objects.text(fields["kind"])
    if why := kinds.fault(version, kind):
        yield f"{path}:{fields['kind'].start_mark.line + 1}: {why}"
    items = fields.get("items")
    if kind.endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value if kind == "List" else ():
            yield from _of_object(path, item)
        return
    if found := names.fault(fields):
        place = found[0] or node
        yield f"{path}:{place.start_mark.line + 1}: {found[1]}"
    yield from _of_texts(path, node, fields)


def _of_texts(path: str, node: yaml.Node, fields: dict[str, yaml.Node]) -> Iterator[str]:
    """Problems of one object: values that must be strings and are not, and Helm templates."""
    is_built_in = operators.is_built_in(fields["apiVersion"])
    for place, why in scalars.faults(node, is_built_in):
        yield f"{path}:{place.start_mark.line + 1}: {why}"
    if is_built_in and objects.text(fields["kind"]) not in _WITH_TEMPLATES:
        reported = [*fields.values(), *objects.fields(fields.get("metadata")).values()]
        for value in objects.descend(node):
            if value not in reported and _HELM.search(objects.text(value)):
                yield f"{path}:{value.start_mark.line + 1}: {_UNRENDERED}"
                return


def _is_kustomization(fields: dict[str, yaml.Node]) -> bool:
    return objects.text(fields.get("apiVersion")).startswith("kustomize.config.k8s.io/")


def _empty(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _of_image(path: str, named: ImageReference, images: Collection[str]) -> Iterator[str]:
    if not named.image or _TEMPLATE in named.image or re.search(r"\s", named.image):
        reason = _UNRENDERED if _TEMPLATE in named.image else "expected the name of an image"
        yield f"{path}:{named.line}: {reason}"
        return
    reference = full_reference(named.image)
    if not is_valid(named.image):
        yield f"{path}:{named.line}: {named.image} is not the name of an image"
    elif reference not in images:
        yield (
            f"{path}:{named.line}: the image {named.image} is not part of the disk image: add "
            f'"{reference}" to the workload\'s images'
        )
    elif named.policy not in _POLICIES:
        yield f"{path}:{named.line}: imagePullPolicy {named.policy!r}: expected IfNotPresent"
    elif named.policy == "Always" or (not named.policy and is_latest(named.image)):
        yield (
            f"{path}:{named.line}: the pod would ask a registry for {named.image} at every start: "
            "write imagePullPolicy: IfNotPresent"
        )
