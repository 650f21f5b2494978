"""A service of a recipe → `config.json` of its OCI bundle (runtime-spec 1.2).

Everything that the recipe does not grant is denied: capabilities, new privileges, the gateway's
network and processes, writing to the root, system calls out of the ordinary. Limits are not in
it: systemd sets them on the unit's control group, in which the container runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeimg.recipe.services import ALL, CAPABILITIES, Service
from edgeimg.services.image import Image
from edgeimg.services.layout import INIT, ROOTFS, STATE

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEVICES = "/dev/gateway"
_STRICT = ["nosuid", "noexec", "nodev"]
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_SETS = ("ambient", "bounding", "effective", "inheritable", "permitted")
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
RESOLV = "/run/edgeimg/resolv.conf"
"""The gateway's name servers, which containers on its network use too."""


def config(
    name: str,
    service: Service,
    uid: int,
    seccomp: dict[str, object] | None,
    image: Image | None = None,
) -> dict[str, object]:
    """The bundle's config.json, as plain values; `uid` is the number of the service's own user.

    `seccomp` is the profile, None for none; `image` is the container image it is made of, if it
    is made of one.
    """
    image = image or Image()
    linux: dict[str, object] = {"namespaces": _namespaces(service)}
    if ALL not in service.capabilities:
        linux |= {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READONLY)}
    if seccomp is not None:
        linux["seccomp"] = seccomp
    return {
        "ociVersion": "1.2.0",
        # Who shares the network has the gateway's name in it.
        **({"hostname": name} if service.network == "none" else {}),
        "root": {"path": ROOTFS, "readonly": True},
        "process": _process(name, service, uid, image),
        "mounts": _mounts(name, service, user(service, uid, image)),
        "linux": linux,
    }


def capabilities(service: Service) -> list[str]:
    """The capabilities of the service, sorted, without `CAP_`."""
    return sorted(CAPABILITIES if ALL in service.capabilities else set(service.capabilities))


def command(name: str, service: Service, image: Image) -> tuple[str, ...]:
    """Program and arguments: of the recipe, of the container image, or the static program alone."""
    return service.command or image.command or (f"/usr/bin/{name}",)


def user(service: Service, uid: int, image: Image) -> tuple[int, int]:
    """The numbers of user and group that it runs as; `uid` is the one of its own."""
    return {"root": (0, 0), "own": (uid, uid), "image": image.user}[service.user]


def environment(service: Service, image: Image) -> dict[str, str]:
    """The recipe's on top of the container image's."""
    return {"PATH": _PATH, "HOME": "/", **image.environment, **service.environment}


def mount_points(service: Service) -> Sequence[str]:
    """Paths that the container's root must have, because it is read-only."""
    data = [service.data] if service.data else []
    return [mount.target for mount in service.mounts] + data


def _process(name: str, service: Service, uid: int, image: Image) -> dict[str, object]:
    number, group = user(service, uid, image)
    capability_names = [f"CAP_{name}" for name in capabilities(service)]
    init = [] if service.pids == "host" else [f"/{INIT}", "--"]
    return {
        "terminal": False,
        "user": {"uid": number, "gid": group},
        "args": [*init, *command(name, service, image)],
        "env": [f"{key}={value}" for key, value in sorted(environment(service, image).items())],
        "cwd": service.workdir or image.workdir,
        # Ambient: who is not root keeps them when it starts a program.
        "capabilities": dict.fromkeys(_SETS, capability_names),
        "noNewPrivileges": True,
    }


def _namespaces(service: Service) -> list[dict[str, str]]:
    kinds = ["mount", "ipc"]
    if service.pids == "private":
        kinds += ["pid", "cgroup"]
    if service.network == "none":
        kinds += ["network", "uts"]
    return [{"type": kind} for kind in kinds]


def _mounts(name: str, service: Service, owner: tuple[int, int]) -> list[dict[str, object]]:
    mine = [f"uid={owner[0]}", f"gid={owner[1]}"]
    mounts = [
        _mount("/proc", "proc", "proc", _STRICT),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=64k"]),
        _mount("/dev/pts", "devpts", "devpts",
               ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        _mount("/dev/shm", "tmpfs", "shm", [*_STRICT, "mode=1777", "size=4m"]),  # noqa: S108
        _mount("/sys", "sysfs", "sysfs", [*_STRICT, "ro"])
        if service.network == "none"
        # A new sysfs would show the devices of another network.
        else _mount("/sys", "none", "/sys", [*_STRICT, "rro", "rbind"]),
        _mount("/tmp", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=1777", "size=8m"]),  # noqa: S108
        _mount("/run", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=755", "size=1m", *mine]),
    ]  # fmt: skip
    if service.network == "host":
        mounts.append(_bind(RESOLV, "/etc/resolv.conf", writable=False))
    paths = [device for device in service.devices if device.startswith("/")]
    mounts += [_bind(path, path, writable=True) for path in paths]
    if len(paths) < len(service.devices):
        # The gateway's /dev itself, without what is mounted below it: devices come and go. Which of
        # them can be opened is up to the unit's control group.
        mounts.append(_mount(DEVICES, "none", "/dev", ["bind", "ro", "nosuid", "noexec"]))
    mounts += [_bind(m.source, m.target, writable=m.writable) for m in service.mounts]
    if service.data:
        mounts.append(_bind(f"{STATE}/{name}", service.data, writable=True))
    return mounts


def _mount(target: str, kind: str, source: str, options: Sequence[str]) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(source: str, target: str, *, writable: bool) -> dict[str, object]:
    # rro: what is mounted below is read-only too (mount_setattr(2)).
    options = ["rbind", "nosuid", *([] if writable else ["rro"])]
    return _mount(target, "none", source, options)
