"""Where services are in a root, and on the running gateway."""

from __future__ import annotations

CONTAINERS = "usr/lib/edgeimg"
"""Below it are the roots of all containers, which share files with the system's."""
SERVICES = "usr/lib/edgeimg/services"
"""Below it, for each service: an OCI bundle, `config.json` and `rootfs/`."""
ROOTFS = "rootfs"
STATE = "/var/lib/edgeimg/services"
"""Below it: `NAME/`, the data of a service, and `NAME.enabled`, `NAME.disabled`."""
STARTED = "/run/edgeimg/started"
"""Below it, an empty file for each service that was started by hand."""
INIT = "usr/lib/edgeimg/init"
"""The first process of every container: it forwards signals and reaps processes."""


def unit(name: str) -> str:
    """The systemd unit of a service."""
    return f"container-{name}.service"


def rootfs(name: str) -> str:
    """The container's root, in the image's."""
    return f"{SERVICES}/{name}/{ROOTFS}"
