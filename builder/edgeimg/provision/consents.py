"""What an image's gateways take from their config partitions, as the image says itself.

It is for messages at the desk: the gateway decides by the list in its own root.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from edgeimg.arch import ARCHITECTURES
from edgeimg.errors import ImageError, ProvisionError
from edgeimg.image.manifest import PATH, SUFFIX, Contents, Manifest, ProvisionFacts
from edgeimg.pack import disk, erofs
from edgeimg.provision.settings import Settings
from edgeimg.tools import Toolbox

_ROOTS = {arch.root_type for arch in ARCHITECTURES}
_AGENT = "usr/lib/edgeimg/rollout"
_UPDATES = "usr/lib/edgeimg/update.conf"


def of_disk(raw: Path, *, toolbox: Toolbox) -> ProvisionFacts:
    """Of a raw image or a disk: what the systems in all of its slots take.

    Raises ImageError when no slot has a system that says so.
    """
    layout = disk.read(raw, name=raw.name, toolbox=toolbox)
    slots = [part for part in layout.partitions if part.type in _ROOTS and part.label != disk.EMPTY]
    found = [
        Contents.from_json(erofs.read(raw, PATH, toolbox=toolbox, offset=part.start))
        for part in slots
    ]
    if not found:
        raise ImageError(f"{raw.name} has no system in its slots", hint="flash it: `edgeimg flash`")
    common = set.intersection(*(set(one.provision.allow) for one in found))
    signed = any(one.provision.signed for one in found)
    directory = str(PurePosixPath(_AGENT).parent)
    programs = [erofs.names(raw, directory, toolbox=toolbox, offset=part.start) for part in slots]
    return ProvisionFacts(
        allow=tuple(sorted(common)),
        signed=signed,
        agent=all(PurePosixPath(_AGENT).name in names for names in programs),
        k3s=all(one.k3s is not None for one in found),
        updates=all(PurePosixPath(_UPDATES).name in names for names in programs),
    )


def beside(image: Path) -> ProvisionFacts | None:
    """Of an image file, from the manifest beside it; None without one.

    Raises ImageError when it is damaged.
    """
    stem = image.name.removesuffix(".zst").removesuffix(".raw")
    path = image.with_name(f"{stem}{SUFFIX}")
    if not path.is_file():
        return None
    manifest = Manifest.read(path)
    agent, updates = (
        None if manifest.files is None else path in manifest.files for path in (_AGENT, _UPDATES)
    )
    contents = manifest.contents
    return replace(contents.provision, agent=agent, k3s=contents.k3s is not None, updates=updates)


def require_parts(takes: ProvisionFacts | None, settings: Settings, title: str) -> None:
    """Raises ProvisionError for [rollout] and an image without the agent, for [update] and an image
    without updates, and for [k3s] or [registries] and an image without K3s.

    Its gateways would refuse all settings. `title` names the image, or the gateway and the image.
    """
    if settings.rollout is not None and takes is not None and takes.agent is False:
        raise ProvisionError(
            f"{title} has no roll-out agent, and the settings have [rollout]",
            hint='add `include = [..., "edgeimg:rollout"]` to its recipe, or remove [rollout]',
        )
    if settings.update is not None and takes is not None and takes.updates is False:
        raise ProvisionError(
            f"{title} does not update itself, and the settings have [update]",
            hint='add [update] and `include = [..., "edgeimg:updates"]` to its recipe, '
            "or remove [update]",
        )
    tables = [name for name in ("k3s", "registries") if getattr(settings, name)]
    if tables and takes is not None and takes.k3s is False:
        names = " and ".join(f"[{name}]" for name in tables)
        raise ProvisionError(
            f"{title} has no K3s, and the settings have {names}",
            hint=f"remove {names}, or take an image with K3s",
        )
