"""The Debian packages that edgeimg itself needs, by what they are for."""

from __future__ import annotations

BOOT_PACKAGES = ("systemd-boot-efi",)
"""The boot loader and the UKI stub of the image's architecture."""

INITRD_PACKAGES = ("busybox-static", "dmsetup")
"""What the initrd opens the root with, with its libraries."""

CONTAINER_PACKAGES = ("busybox-static", "catatonit")
"""What the built-in container images are composed from."""

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
"""Needed by maintainer scripts only, and edgeimg runs none: told to apt as installed already."""

TOOLS_EXCLUDED = (*EXCLUDED, "dbus", "dash", "bash", "systemd", "udev", "mount", "python3")
"""Needed by an installed system, not by the programs that the host runs out of the tools tree."""
