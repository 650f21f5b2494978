"""The one table of architectures, with their names in other projects.

Nothing else in edgeimg branches on an architecture; adding one is one entry here.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Qemu:
    """How QEMU emulates the architecture; paths are relative to the tools tree."""

    program: str
    machine: str
    cpu: str
    accel: str
    firmware_code: str
    firmware_vars: str
    kvm_hosts: tuple[str, ...] = ()
    boot_seconds: int = 900
    """How long an emulated guest may take from power-on to a pod that answers, on two cores."""


@dataclass(frozen=True, kw_only=True)
class Arch:
    """One architecture, under the names of Debian, Go, OCI, ELF, EFI, QEMU and K3s."""

    name: str
    """systemd's name: used in file names, manifests and partition types."""
    aliases: tuple[str, ...]
    debian: str
    goarch: str
    goarm: str | None = None
    oci_variants: tuple[str, ...]
    """The variants that every processor of it runs, best first; no variant means the first."""
    oci_variant: str | None = None
    """The one to name; None where the architecture alone says it."""
    elf_class: int
    elf_machine: str
    """`e_machine` as pyelftools spells it."""
    elf_hard_float: bool = False
    """The ELF header must carry EF_ARM_ABI_FLOAT_HARD (ARM EABI5)."""
    triplet: str
    """GNU multiarch triplet: the directory under /usr/lib."""
    loader: str
    """The ELF interpreter of the architecture's ABI."""
    ld_cache_flags: int
    """Flags of its libraries in ld.so.cache (glibc, dl-cache.h)."""
    efi: str
    """The EFI suffix: BOOT<EFI>.EFI, systemd-boot<efi>.efi, linux<efi>.efi.stub."""
    pe_machine: int
    """Machine of its EFI programs (PE format, machine types)."""
    secure_boot: bool = True
    """Whether there is firmware with Secure Boot for it."""
    uboot: int
    """What U-Boot's images number it (`include/image.h`)."""
    kernel_deb: str
    microcode_packages: tuple[str, ...] = ()
    """Packages with updates for its processors; empty where the kernel loads none."""
    console: str
    """Its first serial line, as `console=` names it. Without a speed the driver of PCs takes 9600
    baud; those of ARM keep what the firmware has set."""
    syscalls: str
    """What tables of system calls name it (the kernel's own name)."""
    seccomp: str
    """libseccomp's name."""
    k3s_suffix: str
    """Suffix of the K3s release binary (`k3s`, `k3s-arm64`, `k3s-armhf`)."""
    k3s_airgap: str
    """Name in K3s' air-gap bundles and checksum files."""
    root_type: str
    """GPT type UUID of the root partition (Discoverable Partitions Specification)."""
    verity_type: str
    """GPT type UUID of the root-verity partition."""
    qemu: Qemu = field(repr=False)

    @property
    def oci_platform(self) -> str:
        """The OCI platform, such as `linux/arm/v7`."""
        parts = ["linux", self.goarch, *([self.oci_variant] if self.oci_variant else [])]
        return "/".join(parts)


X86_64 = Arch(
    name="x86-64",
    aliases=("x86_64", "amd64", "x64"),
    debian="amd64",
    goarch="amd64",
    oci_variants=("v1",),
    elf_class=64,
    elf_machine="EM_X86_64",
    triplet="x86_64-linux-gnu",
    loader="/lib64/ld-linux-x86-64.so.2",
    ld_cache_flags=0x0303,
    efi="x64",
    pe_machine=0x8664,
    uboot=24,
    kernel_deb="linux-image-amd64",
    microcode_packages=("amd64-microcode", "intel-microcode"),
    console="ttyS0,115200n8",
    syscalls="x86_64",
    seccomp="SCMP_ARCH_X86_64",
    k3s_suffix="",
    k3s_airgap="amd64",
    root_type="4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    verity_type="2c7357ed-ebd2-46d9-aec1-23d437ec2bf5",
    qemu=Qemu(
        program="qemu-system-x86_64",
        machine="q35",
        cpu="max",
        accel="tcg,thread=multi",
        firmware_code="usr/share/OVMF/OVMF_CODE_4M.fd",
        firmware_vars="usr/share/OVMF/OVMF_VARS_4M.fd",
        kvm_hosts=("x86-64",),
    ),
)

ARM64 = Arch(
    name="arm64",
    aliases=("aarch64", "arm64v8", "armv8"),
    debian="arm64",
    goarch="arm64",
    oci_variants=("v8",),
    elf_class=64,
    elf_machine="EM_AARCH64",
    triplet="aarch64-linux-gnu",
    loader="/lib/ld-linux-aarch64.so.1",
    ld_cache_flags=0x0A03,
    efi="aa64",
    pe_machine=0xAA64,
    uboot=22,
    kernel_deb="linux-image-arm64",
    console="ttyAMA0",
    syscalls="arm64",
    seccomp="SCMP_ARCH_AARCH64",
    k3s_suffix="-arm64",
    k3s_airgap="arm64",
    root_type="b921b045-1df0-41c3-af44-4c6f280d3fae",
    verity_type="df3300ce-d69f-4c92-978c-9bfb0f38d820",
    qemu=Qemu(
        program="qemu-system-aarch64",
        machine="virt",
        cpu="max,pauth-impdef=on",
        accel="tcg,thread=multi",
        firmware_code="usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        firmware_vars="usr/share/AAVMF/AAVMF_VARS.fd",
        kvm_hosts=("arm64",),
    ),
)

ARM = Arch(
    name="arm",
    aliases=("armv7", "armv7l", "armhf", "arm32v7", "armv7hf"),
    debian="armhf",
    goarch="arm",
    goarm="7",
    oci_variants=("v7", "v6", "v5"),
    oci_variant="v7",
    elf_class=32,
    elf_machine="EM_ARM",
    elf_hard_float=True,
    triplet="arm-linux-gnueabihf",
    loader="/lib/ld-linux-armhf.so.3",
    ld_cache_flags=0x0903,
    efi="arm",
    pe_machine=0x01C2,
    secure_boot=False,
    uboot=2,
    kernel_deb="linux-image-armmp",
    console="ttyAMA0",
    syscalls="arm",
    seccomp="SCMP_ARCH_ARM",
    k3s_suffix="-armhf",
    k3s_airgap="arm",
    root_type="69dad710-2ce4-4e3c-b16c-21a1d49abed3",
    verity_type="7386cdf2-203c-47a9-a498-f2ecce45a2d6",
    qemu=Qemu(
        program="qemu-system-arm",
        machine="virt,highmem=off",
        cpu="cortex-a15",
        accel="tcg,thread=multi",
        firmware_code="usr/share/AAVMF/AAVMF32_CODE.fd",
        firmware_vars="usr/share/AAVMF/AAVMF32_VARS.fd",
        boot_seconds=2400,
    ),
)

ARCHITECTURES: tuple[Arch, ...] = (X86_64, ARM64, ARM)
ALIASES: dict[str, Arch] = {
    alias: arch for arch in ARCHITECTURES for alias in (arch.name, *arch.aliases)
}


def find_arch(name: str) -> Arch:
    """Return the architecture that `name` (any common alias, any case) means.

    Raises KeyError when no architecture goes by that name.
    """
    return ALIASES[name.lower()]
