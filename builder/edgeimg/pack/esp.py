"""The two FAT partitions: the EFI system partition and the provisioning partition.

Names and places follow the UAPI Boot Loader Specification; `+3` in a UKI's name gives a new
version three boots to prove itself (systemd's Automatic Boot Assessment).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgeimg.arch import Arch
from edgeimg.compose.updates import TRIES
from edgeimg.pack import fat, scratch
from edgeimg.tools import Toolbox

LOADER_CONF = b"""\
# Boot the newest system that still has tries left, at once. Hold a key for the menu. The pattern
# leaves out other profiles (NAME.efi@1): systemd-boot 257 puts those of a file whose tries
# are being counted (NAME+2-1.efi) before the system itself.
default *.efi
timeout 0
editor no
console-mode keep
"""
_ENROLL = "loader/keys/auto"
"""The directory of the keys that systemd-boot enrolls without a question."""
CONFIG_README = (
    b"This partition belongs to the gateway's owner: settings for this one device go here.\r\n"
    b"The gateway reads it when it starts. Any computer can read and write it.\r\n"
)


def uki_name(image_id: str, version: str) -> str:
    """The file name of a version's UKI that has not been booted yet."""
    return f"{image_id}_{version}+{TRIES}.efi"


def enrolment(variables: Mapping[str, bytes], enroll: str) -> dict[str, bytes]:
    """Files of the partition that enroll keys of Secure Boot, as PK.auth; none without keys.

    The boot loader enrolls them as `enroll` says (loader.conf(5), secure-boot-enroll), whether it
    is signed itself or not: only a partition whose programs are signed may have them.
    """
    if not variables:
        return {}
    setting = f"secure-boot-enroll {enroll}\n".encode()
    files = {f"{_ENROLL}/{name}": content for name, content in sorted(variables.items())}
    return {**files, "loader/loader.conf": LOADER_CONF + setting}


def make(
    output: Path,
    *,
    arch: Arch,
    loader: Path,
    uki: Path,
    uki_name: str,
    size: int,
    volume_id: int,
    epoch: int,
    more: Mapping[str, Path] = MappingProxyType({}),
    toolbox: Toolbox,
) -> None:
    """Write the EFI system partition (FAT32, `size` bytes) with systemd-boot and one UKI.

    `loader` is systemd-boot<efi>.efi, `more` a board's files by their path. With a board there must
    be room for two more UKIs, too: another version, and the copy that repairs a name (init). Raises
    BudgetError when it does not fit, ToolError.
    """
    conf = scratch.write(LOADER_CONF, output.with_name(f"{output.name}.loader.conf"))
    files = {
        f"EFI/BOOT/BOOT{arch.efi.upper()}.EFI": loader,
        f"EFI/systemd/systemd-boot{arch.efi}.efi": loader,
        f"EFI/Linux/{uki_name}": uki,
        "loader/loader.conf": conf,
        **more,
    }
    fat.make(
        output, files, size=size, bits=32, label="ESP", volume_id=volume_id, epoch=epoch,
        toolbox=toolbox, spare=2 * uki.stat().st_size if more else 0,
    )  # fmt: skip
    conf.unlink()


def make_config(output: Path, *, size: int, volume_id: int, epoch: int, toolbox: Toolbox) -> None:
    """Write the provisioning partition (FAT16, label CONFIG) with a README. Raises ToolError."""
    readme = scratch.write(CONFIG_README, output.with_name(f"{output.name}.readme"))
    fat.make(
        output, {"README.txt": readme}, size=size, bits=16, label="CONFIG",
        volume_id=volume_id, epoch=epoch, toolbox=toolbox,
    )  # fmt: skip
    readme.unlink()
