"""Names of Kubernetes objects: what the API server refuses, long after the disk was flashed.

https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from edgeimg.workloads import objects, scalars

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_RULE = "small letters, digits, '-' and '.', with a letter or digit at both ends"
_LONGEST = 253
_FREE = ("rbac.authorization.k8s.io", "certificates.k8s.io", "networking.k8s.io")
"""Groups with kinds whose names may have ':' and capitals: what stands in a URL suffices."""


def fault(object_fields: Mapping[str, yaml.Node]) -> tuple[yaml.Node | None, str] | None:
    """Where and why the API server refuses the name of an object; None if it takes it.

    An object whose name has `{{` is a template, which is reported elsewhere.
    """
    metadata = object_fields.get("metadata")
    known = objects.fields(metadata)
    for key in ("name", "generateName"):
        name = known.get(key)
        is_scalar = isinstance(name, yaml.ScalarNode)
        if (
            name is None
            or (is_scalar and not objects.text(name))
            or (is_scalar and scalars.kind(name) == "nothing")
        ):
            continue
        if not is_scalar or scalars.kind(name) != "text":
            return name, f"metadata.{key} is not a text: write it in quotes"
        text = objects.text(name)
        group = objects.text(object_fields.get("apiVersion")).rpartition("/")[0]
        if "{{" not in text and not _is_valid(text + ("x" if key != "name" else ""), group):
            return name, f"metadata.{key} {text!r} is no name of an object: expected {_RULE}"
        return None
    return metadata, "the object has no metadata.name (or generateName)"


def _is_valid(name: str, group: str) -> bool:
    if group in _FREE:
        return name not in (".", "..") and not re.search(r"[/%\x00-\x20\x7f]", name)
    return len(name) <= _LONGEST and bool(_SUBDOMAIN.fullmatch(name))
