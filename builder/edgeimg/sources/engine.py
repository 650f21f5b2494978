"""Container images out of a Docker engine: pulled by it, or built there, and saved.

The engine is used through its API (docker SDK), so `DOCKER_HOST`, contexts, and other engines with
the same API, such as Podman, work.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors

from edgeimg.arch import Arch
from edgeimg.cache.store import Store, disk_errors, key
from edgeimg.errors import EdgeimgError, FetchError, LockError
from edgeimg.lock.model import ImagePin
from edgeimg.progress import Progress
from edgeimg.sources.oci_archive import open_image

_TIMEOUT = 600
_PLATFORMS = (1, 48)
"""The API's version from which on an engine keeps several platforms under one name."""
_HINT = (
    "start Docker, or point DOCKER_HOST at an engine; without one, use archive = "
    '"FILE" (an OCI layout, or an archive of `docker save`)'
)


def resolve(reference: str, arch: Arch, *, store: Store, progress: Progress) -> ImagePin:
    """The current image of `reference` for `arch`: pulled, or found in the engine.

    Raises LockError without an engine, or when there is no such image for `arch`.
    """
    with _client(LockError) as client, store.work("image") as work:
        try:
            source = _pull(client, reference, arch, progress)
        except LockError:
            if not _has_image(client, reference):
                raise
            source = ""
        saved = work / "image.tar"
        _save(client, reference, arch, saved, LockError)
        with open_image(saved, arch, label=reference) as image:
            digest = image.digest
        store.derived(_key(digest), lambda result: _move(saved, result))
    return ImagePin(reference=reference, digest=digest, source=source)


def fetch(pin: ImagePin, arch: Arch, *, store: Store, offline: bool, progress: Progress) -> Path:
    """The archive of a locked image, out of the cache or the engine.

    Raises FetchError when neither has it, or when its name belongs to another image now.
    """

    def make(result: Path) -> None:
        if offline:
            raise FetchError(
                f"the image {pin.reference} for {arch.name} is not in the cache",
                hint="build once without --offline",
            )
        with _client(FetchError) as client:
            if pin.source and not _has_image(client, pin.digest):
                _pull(client, pin.source, arch, progress, FetchError)
            # Engines with the older kind of store name images by their configuration's digest, and
            # a name belongs to the platform that was pulled last; the others store all platforms.
            by_digest = _has_image(client, pin.digest)
            name = pin.digest if by_digest else (pin.source or pin.reference)
            _save(client, name, arch, result, FetchError)
        with open_image(result, arch, label=pin.reference) as image:
            if image.digest != pin.digest:
                raise FetchError(
                    f"{pin.reference} for {arch.name} is another image now: {image.digest[:19]}…, "
                    f"locked is {pin.digest[:19]}…",
                    hint="take the new one with `edgeimg lock --update`",
                )

    return store.derived(_key(pin.digest), make)


def _key(digest: str) -> str:
    return key("image-archive", "1", digest)


def _move(saved: Path, result: Path) -> None:
    saved.rename(result)


def _pull(
    client: Any,
    reference: str,
    arch: Arch,
    progress: Progress,
    failure: type[EdgeimgError] = LockError,
) -> str:
    """Pull for one architecture. Returns `repository@sha256:…`, which no new tag changes."""
    progress.debug(f"{arch.name}: pulling {reference}")
    problem = digest = ""
    try:
        for event in client.api.pull(
            reference, platform=arch.oci_platform, stream=True, decode=True
        ):
            problem = event.get("error") or problem
            status = str(event.get("status", ""))
            digest = status.removeprefix("Digest: ") if status.startswith("Digest: ") else digest
    except (docker.errors.DockerException, OSError) as error:
        problem = _message(error)
    if problem:
        raise failure(
            f"the engine cannot pull {reference} for {arch.oci_platform}: {problem}",
            hint="check the name and the registry's login, or build the image there first",
        )
    repository = re.sub(r"(@.*|:[^/:]+)$", "", reference)
    return f"{repository}@{digest}" if digest else ""


def _has_image(client: Any, reference: str) -> bool:
    try:
        client.api.inspect_image(reference)
    except docker.errors.DockerException:
        return False
    return True


def _save(client: Any, reference: str, arch: Arch, path: Path, failure: type[EdgeimgError]) -> None:
    """`docker save`, of one platform where the engine keeps several."""
    api = client.api
    params = {"platform": _platform(arch)} if _stores_platforms(client) else {}
    try:
        # The SDK's get_image() does not support platforms.
        response = api._get(api._url("/images/{0}/get", reference), stream=True, params=params)
        api._raise_for_status(response)
        chunks = response.iter_content(1 << 20)
        with disk_errors(path), path.open("wb") as output:
            for chunk in chunks:
                output.write(chunk)
    except docker.errors.DockerException as error:
        raise failure(f"the engine cannot save {reference}: {_message(error)}") from None


def _platform(arch: Arch) -> str:
    variant = f',"variant":"{arch.oci_variant}"' if arch.oci_variant else ""
    return f'{{"os":"linux","architecture":"{arch.goarch}"{variant}}}'


def _stores_platforms(client: Any) -> bool:
    version = str(client.version().get("ApiVersion") or "1.0")
    return tuple(map(int, version.split(".")[:2])) >= _PLATFORMS


def _message(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)


@contextlib.contextmanager
def _client(failure: type[EdgeimgError]) -> Iterator[Any]:
    try:
        client = docker.from_env(timeout=_TIMEOUT)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        problem = str(error).partition("(Caused by")[0]
        raise failure(
            f"there is no Docker engine to get images from: {problem}", hint=_HINT
        ) from None
    with contextlib.closing(client):
        yield client
