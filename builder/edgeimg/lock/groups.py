"""The Debian packages that edgeimg itself needs, by their purpose."""

from __future__ import annotations

BOOT_PACKAGES = ("systemd-boot-efi",)
"""The boot loader and the UKI stub of the image's architecture."""

BOARD = "board"
"""The group of a board's boot loader and firmware."""

INITRD_PACKAGES = ("busybox-static", "dmsetup")
"""The program of the initrd that opens the root, with its libraries."""

CONTAINER_PACKAGES = ("busybox-static", "catatonit")
"""The packages of the built-in container images."""

SERVICE_PACKAGES = ("catatonit", "golang-github-containers-common")
"""The packages of every service's container: its process 1, and the default seccomp profile."""

SERVICES_EXCLUDED = ("golang-github-containers-image", "netavark")
"""Dependencies of programs that read the profile; only the profile is read here."""

TOOL_GROUPS: dict[str, tuple[str, ...]] = {
    "pack": (
        "cryptsetup-bin",
        "dosfstools",
        "e2fsprogs",
        "erofs-utils",
        "fdisk",
        "mtools",
        "systemd-repart",
        "systemd-ukify",
        "xz-utils",
        "zstd",
    ),
    "qemu": (
        "ovmf",
        "qemu-efi-aarch64",
        "qemu-efi-arm",
        "qemu-system-arm",
        "qemu-system-x86",
        "qemu-utils",
    ),
    "go": ("golang-go",),
}
"""Programs that run on the build host, out of the tools tree."""

MORE_TOOLS: dict[str, tuple[str, ...]] = {"iso": ("xorriso",)}
"""Those of a recipe that asks for them (`packages.tools`)."""

EXCLUDED = (
    "adduser",
    "cdebconf",
    "debconf",
    "debianutils",
    "dpkg",
    "init-system-helpers",
    "initramfs-tools",
    "install-info",
    "linux-base",
    "logsave",
    "perl",
    "perl-base",
    "sensible-utils",
    "ucf",
)
"""Needed only by maintainer scripts, which edgeimg does not run. apt treats them as installed."""

_TOOLS_EXCLUDED = (
    *EXCLUDED,
    "bash",
    "dash",
    "dbus",
    "mount",
    "openssl-provider-legacy",
    "python3",
    "systemd",
    "udev",
)

TOOLS_EXCLUDED: dict[str, tuple[str, ...]] = {
    "pack": (
        *_TOOLS_EXCLUDED,
        "libncursesw6",
        "libstdc++6",
        "python3-pefile",
        "python3-zstandard",
        "readline-common",
    ),
    "qemu": (
        *_TOOLS_EXCLUDED,
        "libasound2t64",
        "libbrlapi0.8",
        "libcacard0",
        "libncursesw6",
        "libpcsclite1",
        "libsasl2-modules-db",
        "libsystemd0",
        "libtinfo6",
        "libusb-1.0-0",
        "libusbredirparser1t64",
    ),
    "go": (*_TOOLS_EXCLUDED, "binutils-gold"),
    "iso": (*_TOOLS_EXCLUDED, "readline-common"),
}
"""Needed by an installed system, or by modules and programs that edgeimg does not run.

Every library that a program of the group links to must stay: tests/integration/test_tools.py
starts each of them.
"""
