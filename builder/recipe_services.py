"""[services.NAME]: a container that the system runs, and everything that it may do."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from builder.recipe_types import ArchKey, OverlayPath, PackageName, Size

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


def _absolute(path: str) -> str:
    parts = path.split("/")[1:]
    if not path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ValueError("expected an absolute path such as '/var/lib/data'")
    return path


_RESERVED = ("containerd", "k3s", "systemd")


def _service_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name) or name in _RESERVED:
        raise ValueError("expected a name such as 'ssh': letters, digits and '-'")
    return name


ServiceName = Annotated[str, AfterValidator(_service_name)]
Capability = Annotated[str, AfterValidator(_capability)]
AbsolutePath = Annotated[
    str, StringConstraints(pattern=r"^/[^\x00-\x20:,\"'%\\]{0,255}$"), AfterValidator(_absolute)
]
DevicePath = Annotated[
    str, StringConstraints(pattern=r"^(/dev/[A-Za-z0-9._/-]{1,64}|char-[A-Za-z0-9_.-]{1,32})$")
]
UnitName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:_.@\\-]{1,128}$")]
Argument = Annotated[str, StringConstraints(pattern=r"^[^\x00]{0,4096}$")]
ImageReference = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-zA-Z0-9._/:-]{0,254}(@sha256:[0-9a-f]{64})?$")
]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mount(_Model):
    """A file or directory of the gateway that the service sees."""

    source: AbsolutePath = Field(description="on the gateway")
    target: AbsolutePath = Field(description="in the container")
    kind: Literal["directory", "file"] = Field("directory", description="what it is")
    writable: bool = Field(False, description="the service may change it")


class Health(_Model):
    """How to find out that a service that runs does not work any more."""

    command: tuple[Argument, ...] = Field(
        min_length=1, description="run in the container; anything but exit status 0 is a failure"
    )
    interval: int = Field(30, ge=1, le=86400, description="seconds between two checks")
    timeout: int = Field(5, ge=1, le=3600, description="seconds that a check may take")
    retries: int = Field(3, ge=1, le=100, description="failures in a row before a restart")


class Service(_Model):
    """A container that the system runs. What is not granted here is denied."""

    description: str = Field("", max_length=80, pattern=r"^[^\x00-\x1f%]*$")
    packages: tuple[PackageName, ...] = Field(
        (), description="Debian packages that the container is made of, with their dependencies"
    )
    exclude: tuple[PackageName, ...] = Field(
        (), description="packages to leave out even where others depend on them"
    )
    binary: OverlayPath | dict[ArchKey, OverlayPath] | None = Field(
        None,
        description="or a static program, relative to the project; '{arch}' in its path stands for "
        "the architecture's name",
    )
    image: ImageReference | None = Field(
        None,
        description="or a container image that a Docker engine pulls or has built: "
        "'registry/name:tag'; the lock holds its digest for each architecture",
    )
    archive: OverlayPath | None = Field(
        None,
        description="or a container image in the project: an OCI layout (directory or tar), or "
        "what `docker save` wrote; '{arch}' in its path stands for the architecture's name",
    )
    files: OverlayPath | None = Field(
        None, description="directory of the project with files on top, shaped like the container"
    )
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
        (), description="such as 'NET_BIND_SERVICE'; 'ALL' leaves no walls"
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
    mounts: tuple[Mount, ...] = Field((), description="what it sees of the gateway's files")
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
    after: tuple[UnitName, ...] = Field(
        (), description="services or units that start before it, if they start"
    )
    requires: tuple[UnitName, ...] = Field((), description="and without which it does not start")
    restart: Literal["always", "on-failure", "no"] = Field("always")
    stop: int = Field(10, ge=1, le=3600, description="seconds it has to end before it is killed")
    health: Health | None = Field(None, description="when to restart it though it runs")
    enabled: bool = Field(True, description="starts by itself; a technician may change it")

    @property
    def of_image(self) -> str:
        """The container image it is made of: a reference or a path; empty when it is not."""
        return self.image or self.archive or ""

    def source(self, arch: str) -> tuple[str, str]:
        """The key that says what it is made of, and what that is for one architecture."""
        if self.packages:
            return "packages", " ".join(self.packages)
        if program := self.program(arch):
            return "binary", program
        if file := self.image_file(arch):
            return "archive", file
        return "image", self.image or ""

    def program(self, arch: str) -> str | None:
        """The path in the project of its static program for one architecture, if it has one."""
        given = self.binary.get(arch) if isinstance(self.binary, dict) else self.binary
        return given.replace("{arch}", arch) if given else None

    def image_file(self, arch: str) -> str | None:
        """The path in the project of its container image for one architecture, if it has one."""
        return self.archive.replace("{arch}", arch) if self.archive else None

    def paths(self, arch: str) -> tuple[str, ...]:
        """All that it takes from the project for one architecture."""
        taken = (self.program(arch), self.image_file(arch), self.files)
        return tuple(path for path in taken if path)

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
