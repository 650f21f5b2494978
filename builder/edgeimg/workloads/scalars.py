"""Values that Kubernetes takes as texts only, and that YAML 1.1 reads as something else.

`env: [{value: 5}]` and `labels: {on: yes}` are refused by the API server, long after the disk was
flashed. K3s reads manifests with go-yaml 2 (sigs.k8s.io/yaml), whose rules are these (resolve.go).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.resolver import Resolver

from edgeimg.text import yaml_text
from edgeimg.workloads import objects

_TRUE = {"y", "Y", *(form for word in ("yes", "true", "on") for form in
                     (word, word.capitalize(), word.upper()))}  # fmt: skip
_FALSE = {"n", "N", *(form for word in ("no", "false", "off") for form in
                      (word, word.capitalize(), word.upper()))}  # fmt: skip
_NULL = {"", "~", "null", "Null", "NULL"}
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_PLAIN = re.compile("true|false|-?(0|[1-9][0-9]*)")
"""Keys that are the same as texts."""
_STARTS = tuple("+-.0123456789")
_RESOLVER: Any = Resolver()
_TEXT = "tag:yaml.org,2002:str"
_MAPS = ("labels", "annotations", "matchLabels", "nodeSelector")
"""Objects of texts, wherever they stand in Kubernetes' own kinds."""
_DATA = {"ConfigMap": ("data", "binaryData"), "Secret": ("data", "stringData")}
_OF_KIND = {"Service": "selector", "StorageClass": "parameters"}
"""Objects of texts in the specification, or on top."""
_LISTS = ("args", "command", "values")
_PAIRS = ("env", "tolerations", "httpHeaders", "sysctls")
"""Lists of objects with `name` and `value`."""


def kind(node: yaml.Node) -> str:
    """What go-yaml makes of a scalar: "text", "number", "truth" or "nothing"."""
    text = objects.text(node)
    if getattr(node, "style", None) or _is_marked(node):
        return "text"
    if text in _TRUE or text in _FALSE:
        return "truth"
    if text in _NULL:
        return "nothing"
    plain = text.replace("_", "") if text.startswith(_STARTS) else ""
    if not _NUMBER.fullmatch(plain):
        return "text"
    # A commit such as 123e4567 is too large for a number, and a text.
    is_decimal = "e" in plain.lower() and "x" not in plain.lower()
    return "text" if is_decimal and math.isinf(float(plain)) else "number"


def _is_marked(node: yaml.Node) -> bool:
    """Whether a scalar is a text by its tag, `!!str 5`."""
    by_form: str = _RESOLVER.resolve(yaml.ScalarNode, objects.text(node), (True, False))
    return node.tag == _TEXT != by_form


def check_keys(node: yaml.Node, visited: set[int]) -> None:
    """Raise for keys that strict decoding (sigs.k8s.io/yaml) rejects: duplicates and no texts.

    A key that YAML 1.1 reads as a number or a boolean, such as `on`, is refused as well.
    """
    if id(node) in visited or isinstance(node, yaml.ScalarNode):
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            check_keys(item, visited)
        return
    keys: set[str] = set()
    for name, value in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode):
            raise yaml_text.MalformedError(line, "a key that is not a text")
        if name.value in keys:
            raise yaml_text.MalformedError(line, f"duplicate key {name.value!r}")
        if kind(name) in ("number", "truth") and not _PLAIN.fullmatch(name.value):
            raise yaml_text.MalformedError(
                line, f"the key {name.value} is not a text in YAML 1.1: write it in quotes"
            )
        keys.add(name.value)
        check_keys(value, visited)


def faults(document: yaml.Node, built_in: bool) -> Iterator[tuple[yaml.Node, str]]:
    """Where an object has something else than a text, and what is expected.

    `built_in` is whether the object is of Kubernetes' own kinds; of others only labels and
    annotations are known.
    """
    fields = objects.fields(document)
    metadata = fields.get("metadata")
    if not built_in or _is_schema(fields):
        for name in ("labels", "annotations"):
            yield from _of_map(f"metadata.{name}", objects.fields(metadata).get(name))
        return
    kind_name = objects.text(fields.get("kind"))
    for name in _DATA.get(kind_name, ()):
        yield from _of_map(name, fields.get(name))
    if name := _OF_KIND.get(kind_name, ""):
        yield from _of_map(name, fields.get(name) or objects.fields(fields.get("spec")).get(name))
    for node in objects.descend(document):
        for name, value in objects.fields(node).items():
            items = value.value if isinstance(value, yaml.SequenceNode) else ()
            if name in _MAPS:
                yield from _of_map(name, value)
            elif name in _LISTS:
                for item in items:
                    yield from _of_value(f"an item of {name}", item)
            elif name in _PAIRS:
                for item in items:
                    yield from _of_pair(name, item)


def _is_schema(fields: Mapping[str, yaml.Node]) -> bool:
    """Whether it describes other objects, whose fields have the same names."""
    return objects.text(fields.get("kind")) == "CustomResourceDefinition"


def _of_pair(label: str, node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    for name, value in objects.fields(node).items():
        if name in ("name", "value"):
            yield from _of_value(f"{name} of {label}", value)


def _of_map(name: str, node: yaml.Node | None) -> Iterator[tuple[yaml.Node, str]]:
    for field, value in objects.fields(node).items():
        yield from _of_value(f"{name}.{field}", value)


def _of_value(name: str, node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    if not isinstance(node, yaml.ScalarNode):
        yield node, f"{name}: expected a text"
    elif kind(node) in ("number", "truth"):
        yield node, f'{name} is not a text: write it in quotes: "{objects.text(node)}"'
