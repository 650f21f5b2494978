"""[services.NAME]: a container that the system runs, and everything that it may do."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from edgeimg.recipe.contents import AbsolutePath, Argument, Contents, EnvironmentName
from edgeimg.recipe.types import Size
from edgeimg.text.validation import Table

CAPABILITIES = (
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE",
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER",
    "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE",
    "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "WAKE_ALARM",
)  # fmt: skip
"""capabilities(7), without `CAP_`."""
ALL = "ALL"


def _capability(name: str) -> str:
    short = name.upper().removeprefix("CAP_")
    if short not in CAPABILITIES and short != ALL:
        raise ValueError("expected a capability of capabilities(7), such as 'NET_BIND_SERVICE'")
    return short


_RESERVED = ("containerd", "k3s", "systemd")


def _service_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name) or name in _RESERVED:
        raise ValueError("expected a name such as 'ssh': letters, digits and '-'")
    return name


ServiceName = Annotated[str, AfterValidator(_service_name)]
Capability = Annotated[str, AfterValidator(_capability)]
DevicePath = Annotated[
    str, StringConstraints(pattern=r"^(/dev/[A-Za-z0-9._/-]{1,64}|char-[A-Za-z0-9_.-]{1,32})$")
]
UnitName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.@\\-]{1,128}$")]


class Mount(Table):
    """A file or directory of the gateway that the service sees."""

    source: AbsolutePath = Field(description="on the gateway")
    target: AbsolutePath = Field(description="in the container")
    kind: Literal["directory", "file"] = Field("directory", description="what it is")
    writable: bool = Field(False, description="the service may change it")


class Health(Table):
    """How to detect that a running service does not work."""

    command: tuple[Argument, ...] = Field(
        min_length=1, description="run in the container; anything but exit status 0 is a failure"
    )
    interval: int = Field(30, ge=1, le=86400, description="seconds between two checks")
    timeout: int = Field(5, ge=1, le=3600, description="seconds that a check may take")
    retries: int = Field(3, ge=1, le=100, description="failures in a row before a restart")


class Service(Contents):
    """A container that systemd runs. All permissions are denied unless granted here."""

    description: str = Field("", max_length=80, pattern=r"^[^\x00-\x1f%]*$")
    command: tuple[Argument, ...] = Field((), description="program and arguments")
    environment: dict[EnvironmentName, Argument] = Field(default_factory=dict)
    workdir: AbsolutePath | Literal["/"] | None = Field(
        None, description="working directory; default: the container image's, or /"
    )
    user: Literal["own", "root", "image"] = Field(
        "own",
        description="'own': a user that nothing else runs as; 'image': the one that the container "
        "image names, by number",
    )
    capabilities: tuple[Capability, ...] = Field(
        (), description="such as 'NET_BIND_SERVICE'; 'ALL' removes all isolation"
    )
    seccomp: Literal["default", "unconfined"] = Field(
        "default", description="which system calls it may make"
    )
    network: Literal["none", "host"] = Field(
        "none",
        description="'none': a loopback of its own; 'host': the gateway's network and host name",
    )
    pids: Literal["private", "host"] = Field(
        "private", description="'host': it sees the processes of the gateway"
    )
    mounts: tuple[Mount, ...] = Field(
        (), description="files and directories of the gateway that it sees"
    )
    data: AbsolutePath | None = Field(
        None, description="where in the container its directory on the data partition is"
    )
    devices: tuple[DevicePath, ...] = Field(
        (),
        description="such as '/dev/ttyUSB0'; or a class of /proc/devices, such as 'char-ttyUSB': "
        "its devices are in /dev/gateway as soon as they are there",
    )
    memory: Size = Field(32 << 20, ge=1 << 20, description="most memory it may use")
    cpu: int | None = Field(None, ge=1, le=6400, description="per cent of one processor")
    processes: int = Field(64, ge=1, le=65536, description="most processes and threads")
    after: tuple[UnitName, ...] = Field((), description="services or units that start before it")
    requires: tuple[UnitName, ...] = Field(
        (), description="services or units that must run for it to start"
    )
    restart: Literal["always", "on-failure", "no"] = Field("always")
    stop: int = Field(10, ge=1, le=3600, description="seconds it has to end before it is killed")
    health: Health | None = Field(
        None, description="health check; the service is restarted when it fails"
    )
    enabled: bool = Field(True, description="starts at boot; a technician can change it")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        sources = (self.packages, self.binary, self.image, self.archive)
        if sum(map(bool, sources)) != 1:
            raise ValueError("expected one of 'packages', 'binary', 'image' and 'archive'")
        if not self.command and self.packages:
            raise ValueError("expected 'command': which of its programs is the service")
        if self.user == "image" and not self.of_image:
            raise ValueError("user = 'image' is for services with 'image' or 'archive'")
        return self
