"""QEMU's command line for a guest: a pure function of a plain value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.recipe.board import Emulation

REPORT_PORT = "edgeimg.report"
"""The virtio-serial port that starts the guest's checker (overlays/base, 90-edgeimg.rules)."""
SHELL_CREDENTIAL = "opt/io.systemd.credentials/edgeimg.shell"
"""The credential that starts a root shell on the console (edgeimg-shell.service)."""

_GROUP = "239.255.69.71"
"""Of the local scope (RFC 2365): no router passes it on."""


@dataclass(frozen=True, kw_only=True)
class Accel:
    """The accelerator: `-accel`, and its CPU model."""

    name: str
    """`kvm` or `tcg`."""
    argument: str
    cpu: str
    reason: str
    """Why this one, for the user."""


@dataclass(frozen=True, kw_only=True)
class Lan:
    """A network card on an Ethernet of guests: all with the same port are on one.

    It is a multicast group on the host's loopback, which needs no rights and no other program.
    """

    port: int
    """UDP, of the host."""
    mac: str
    """Each guest its own; the first byte even, and 2 added for a local one: `52:54:00:…`."""


@dataclass(frozen=True, kw_only=True)
class BoardModel:
    """A board as QEMU emulates it."""

    name: str
    model: Emulation
    files: tuple[tuple[str, Path], ...] = ()
    """What QEMU loads, with the name of its option; nothing: the board's ROM reads the disk."""

    @property
    def virtual(self) -> bool:
        """Whether it has virtio devices: a real board's model has none."""
        return self.model.disk == "virtio"


@dataclass(frozen=True, kw_only=True)
class GuestOptions:
    """The options of a guest, from the command line to QEMU's arguments."""

    memory: int = 512
    """MiB."""
    cpus: int | None = None
    """None: see `processors` and `shared`."""
    accel: str = "auto"
    """`auto`, `kvm` or `tcg`. `accel.detect` makes an `Accel` of it."""
    deadline: int | None = None
    """Seconds for one boot; None: by accelerator and architecture."""
    forwards: tuple[tuple[int, int], ...] = ()
    """TCP ports: of the host's loopback, of the guest."""
    udp_forwards: tuple[tuple[int, int], ...] = ()
    """The same for UDP."""
    lan: Lan | None = None
    """A second card, beside the one that reaches the host."""
    clock: str = "utc"
    """The guest's clock at power-on: the time, or `1970-01-01T00:00:00`."""
    board: BoardModel | None = None
    """The board that is emulated, in place of a machine with UEFI."""
    disk: str = "virtio-blk-pci"
    """QEMU's device for the disk, with its properties."""

    @property
    def processors(self) -> int:
        """How many the guest has."""
        return self.cpus or 2

    def shared(self, guests: int) -> GuestOptions:
        """The options of each of several guests that run at once.

        Without `cpus` each has one processor: more processors than the host has slow down
        emulated guests.
        """
        return replace(self, cpus=1) if self.cpus is None and guests > 1 else self


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """One virtual machine; every path is on the host."""

    arch: Arch
    accel: Accel
    options: GuestOptions
    disk: Path
    """A qcow2 image; the guest writes to it."""
    firmware_code: Path
    firmware_vars: Path
    """The guest writes to it."""
    firmware_dirs: tuple[Path, ...] = ()
    """The directory of QEMU's own files."""
    qmp: Path
    """A socket that QEMU makes."""
    console: Path | None = None
    """The serial console's log; None: the terminal."""
    report: Path | None = None
    """A socket that QEMU makes, with the guest's checker at the other end."""
    shell: bool = False
    """Request a root shell on the guest's console."""


def qemu_argv(spec: GuestSpec) -> list[str]:
    """The command line, program name first. The user's QEMU configuration is not used."""
    return [
        spec.arch.qemu.program,
        *("-name", f"edgeimg-{spec.arch.name}"),
        *("-no-user-config", "-nodefaults", "-display", "none"),
        *(word for path in spec.firmware_dirs for word in ("-L", str(path))),
        *_machine(spec),
        *("-smp", str(spec.options.processors), "-m", f"{spec.options.memory}M"),
        *("-rtc", f"base={spec.options.clock}"),
        *_firmware(spec),
        *_devices(spec),
        *_console(spec),
        *("-qmp", f"unix:{_escape(spec.qmp)},server=on,wait=off"),
        *(("-fw_cfg", f"name={SHELL_CREDENTIAL},string=1") if spec.shell else ()),
    ]


def _machine(spec: GuestSpec) -> list[str]:
    model = spec.options.board.model if spec.options.board else None
    machine = (model and model.machine) or spec.arch.qemu.machine
    words = ["-machine", machine, "-accel", spec.accel.argument]
    if spec.options.board is None or spec.options.board.virtual:
        words += ["-cpu", (model and model.cpu) or spec.accel.cpu]
    return words


def _firmware(spec: GuestSpec) -> list[str]:
    if spec.options.board is not None:
        files = spec.options.board.files
        return [word for option, path in files for word in (f"-{option}", str(path))]
    code, variables = _escape(spec.firmware_code), _escape(spec.firmware_vars)
    return [
        "-drive",
        f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
        "-drive",
        f"if=pflash,unit=1,format=raw,file={variables}",
    ]


def _devices(spec: GuestSpec) -> list[str]:
    if spec.options.board is not None and not spec.options.board.virtual:
        card = f"if=sd,format=qcow2,cache=unsafe,file={_escape(spec.disk)}"
        return ["-drive", card, "-nic", "user"]
    ports = "".join(
        f",hostfwd={protocol}:127.0.0.1:{host}-:{guest}"
        for protocol, ports in (
            ("tcp", spec.options.forwards),
            ("udp", spec.options.udp_forwards),
        )
        for host, guest in ports
    )
    devices = [
        # The disk is thrown away with the guest, so it need not survive the host's power cut.
        *("-drive", f"if=none,id=disk,format=qcow2,cache=unsafe,file={_escape(spec.disk)}"),
        *("-device", f"{spec.options.disk},drive=disk,bootindex=0"),
        *("-netdev", f"user,id=net{ports}"),
        # No option ROM: the firmware boots from the disk.
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-object", "rng-random,id=rng,filename=/dev/urandom"),
        *("-device", "virtio-rng-pci,rng=rng"),
    ]
    if spec.options.lan is not None:
        group = f"socket,id=lan,mcast={_GROUP}:{spec.options.lan.port},localaddr=127.0.0.1"
        devices += [
            *("-netdev", group),
            *("-device", f"virtio-net-pci,netdev=lan,mac={spec.options.lan.mac},romfile="),
        ]
    if spec.report is not None:
        devices += [
            *("-chardev", f"socket,id=report,path={_escape(spec.report)},server=on,wait=off"),
            *("-device", "virtio-serial-pci"),
            *("-device", f"virtserialport,chardev=report,name={REPORT_PORT}"),
        ]
    return devices


def _console(spec: GuestSpec) -> list[str]:
    board = spec.options.board
    others = ["-serial", "null"] * (board.model.serial if board else 0)
    if spec.console is not None:
        log = _escape(spec.console)
        return ["-chardev", f"file,id=console,path={log}", *others, "-serial", "chardev:console"]
    return [
        *("-chardev", "stdio,id=console,mux=on,signal=off"),
        *(*others, "-serial", "chardev:console", "-mon", "chardev=console,mode=readline"),
    ]


def _escape(path: Path) -> str:
    """A path inside an option: QEMU wants commas doubled."""
    return str(path).replace(",", ",,")
