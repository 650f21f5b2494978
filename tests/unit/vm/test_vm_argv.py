"""QEMU's command line, word for word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64, Arch
from edgeimg.vm.accel import tcg
from edgeimg.vm.argv import Accel, GuestOptions, GuestSpec, Lan, qemu_argv

W = Path("/w")


def spec(arch: Arch = X86_64) -> GuestSpec:
    return GuestSpec(
        arch=arch,
        accel=tcg(arch, "test"),
        options=GuestOptions(),
        disk=W / "disk.qcow2",
        firmware_code=W / "code.fd",
        firmware_vars=W / "vars.fd",
        firmware_dirs=(Path("/share/qemu"),),
        qmp=W / "qmp",
        console=W / "console.log",
        report=W / "report",
    )


def common(name: str) -> list[str]:
    return ["-name", f"edgeimg-{name}", "-no-user-config", "-nodefaults", "-display", "none",
            "-L", "/share/qemu"]  # fmt: skip


REST = [
    "-smp", "2", "-m", "512M",
    "-rtc", "base=utc",
    "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/w/code.fd",
    "-drive", "if=pflash,unit=1,format=raw,file=/w/vars.fd",
    "-drive", "if=none,id=disk,format=qcow2,cache=unsafe,file=/w/disk.qcow2",
    "-device", "virtio-blk-pci,drive=disk,bootindex=0",
    "-netdev", "user,id=net",
    "-device", "virtio-net-pci,netdev=net,romfile=",
    "-object", "rng-random,id=rng,filename=/dev/urandom",
    "-device", "virtio-rng-pci,rng=rng",
    "-chardev", "socket,id=report,path=/w/report,server=on,wait=off",
    "-device", "virtio-serial-pci",
    "-device", "virtserialport,chardev=report,name=edgeimg.report",
    "-chardev", "file,id=console,path=/w/console.log",
    "-serial", "chardev:console",
    "-qmp", "unix:/w/qmp,server=on,wait=off",
]  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "program", "machine"),
    [
        (X86_64, "qemu-system-x86_64",
         ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]),
        (ARM64, "qemu-system-aarch64",
         ["-machine", "virt", "-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"]),
        (ARM, "qemu-system-arm",
         ["-machine", "virt,highmem=off", "-accel", "tcg,thread=multi", "-cpu", "cortex-a15"]),
    ],
)  # fmt: skip
def test_the_whole_command_line(arch: Arch, program: str, machine: list[str]) -> None:
    assert qemu_argv(spec(arch)) == [program, *common(arch.name), *machine, *REST]


def test_processors_are_as_many_as_told() -> None:
    argv = qemu_argv(replace(spec(), options=GuestOptions(cpus=1)))
    assert argv[argv.index("-smp") + 1] == "1"


def test_every_architecture_has_its_case_above() -> None:
    assert {arch.name for arch in ARCHITECTURES} == {"x86-64", "arm64", "arm"}


def test_interactive_guests_have_the_terminal_a_shell_and_ports() -> None:
    argv = qemu_argv(
        replace(
            spec(),
            console=None,
            report=None,
            shell=True,
            options=GuestOptions(forwards=((6443, 6443), (80, 8080)), udp_forwards=((51, 52),)),
        )
    )
    ports = ("tcp:127.0.0.1:6443-:6443", "tcp:127.0.0.1:80-:8080", "udp:127.0.0.1:51-:52")
    assert ",".join(["user,id=net", *(f"hostfwd={port}" for port in ports)]) in argv
    assert argv[-6:] == [
        "-mon", "chardev=console,mode=readline",
        "-qmp", "unix:/w/qmp,server=on,wait=off",
        "-fw_cfg", "name=opt/io.systemd.credentials/edgeimg.shell,string=1",
    ]  # fmt: skip
    assert "stdio,id=console,mux=on,signal=off" in argv
    assert not any("edgeimg.report" in word for word in argv)


def test_a_guest_on_a_network_of_guests_with_a_clock_that_has_stopped() -> None:
    lan = Lan(port=45454, mac="52:54:00:00:00:01")
    argv = qemu_argv(replace(spec(), options=GuestOptions(lan=lan, clock="1970-01-01T00:00:00")))
    expected = [word if word != "base=utc" else "base=1970-01-01T00:00:00" for word in REST]
    here = expected.index("virtio-rng-pci,rng=rng") + 1
    expected[here:here] = [
        "-netdev", "socket,id=lan,mcast=239.255.69.71:45454,localaddr=127.0.0.1",
        "-device", "virtio-net-pci,netdev=lan,mac=52:54:00:00:00:01,romfile=",
    ]  # fmt: skip
    assert argv[-len(expected) :] == expected


def test_a_tested_guest_gets_no_shell() -> None:
    assert "-fw_cfg" not in qemu_argv(spec())


def test_kvm_takes_the_hosts_processor() -> None:
    accel = Accel(name="kvm", argument="kvm", cpu="host", reason="")
    argv = qemu_argv(replace(spec(), accel=accel))
    assert argv[argv.index("-accel") :][:4] == ["-accel", "kvm", "-cpu", "host"]


def test_commas_in_paths_are_doubled() -> None:
    argv = qemu_argv(replace(spec(), disk=Path("/a,b/disk"), qmp=Path("/a,b/qmp")))
    assert any(word.endswith("file=/a,,b/disk") for word in argv)
    assert "unix:/a,,b/qmp,server=on,wait=off" in argv
