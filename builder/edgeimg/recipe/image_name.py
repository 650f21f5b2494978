"""Names of container images, and what the gateway calls them.

Grammar and defaults are those of distribution/reference 0.6 (regexp.go, normalize.go). containerd's
CRI looks images up by `ParseDockerRef`: with registry and repository, and with the digest where
there is one, else with the tag.
"""

from __future__ import annotations

import re

MAX_LENGTH = 255
_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_PART}(?:\.{_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
PATTERN = rf"^(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*(?:{_TAG})?(?:@sha256:[0-9a-f]{{64}})?$"
"""A name as people and manifests write it; registry, tag and digest may be missing."""
_REFERENCE = re.compile(PATTERN.removeprefix("^").removesuffix("$"), re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}")
_DOCKER = "docker.io"
_OLD_DOCKER = "index.docker.io"


def is_valid(image: str) -> bool:
    """Whether a name follows the grammar."""
    repository = split(full_reference(image))[0]
    registry, _, path = repository.partition("/")
    return (
        bool(_REFERENCE.fullmatch(image))
        and not _ID.fullmatch(image)
        and len(repository) <= MAX_LENGTH
        and path == path.lower()
        and bool(registry)
    )


def full_reference(image: str) -> str:
    """The name under which containerd keeps an image, and under which the kubelet finds it.

    `nginx` is `docker.io/library/nginx:latest`; a tag beside a digest is dropped.
    """
    name, tag, digest = split(image)
    first, slash, rest = name.partition("/")
    names_registry = slash and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    registry, path = (first, rest) if names_registry else (_DOCKER, name)
    registry = _DOCKER if registry == _OLD_DOCKER else registry
    if registry == _DOCKER and "/" not in path:
        path = f"library/{path}"
    return f"{registry}/{path}" + (f"@{digest}" if digest else f":{tag or 'latest'}")


def names_all(image: str) -> bool:
    """Whether a name has a registry, and a tag or a digest: nothing of it is a default."""
    name, tag, digest = split(image)
    first, slash, _ = name.partition("/")
    return bool(slash and (tag or digest)) and full_reference(image).startswith(
        (f"{first}/", f"{_DOCKER}/" if first == _OLD_DOCKER else f"{first}/")
    )


def is_latest(image: str) -> bool:
    """Whether the kubelet takes a name for the newest image, and so pulls it at every start."""
    _, tag, digest = split(image)
    return tag == "latest" or not (tag or digest)


def split(image: str) -> tuple[str, str, str]:
    """Repository, tag and digest; a registry's port is no tag."""
    name, _, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    return (head, tag, digest) if colon and "/" not in tag else (name, "", digest)


def short_name(reference: str) -> str:
    """The last part of a reference, without its tag: what a static program is called inside."""
    return split(reference)[0].rpartition("/")[2]
