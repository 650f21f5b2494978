"""ISO 9660 file systems (ECMA-119) with Rock Ridge names, made by xorriso(1).

With a boot partition the file starts with UEFI from a CD (El Torito, UEFI 2.10 section 13.3.2), and
from a stick: it has a GPT as well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from edgeimg.tools import Toolbox

TIMEOUT = 600.0
LABEL = "EDGEIMG"
ESP = "esp.fat"


def make(
    output: Path,
    files: Mapping[str, Path],
    *,
    esp: Path | None = None,
    epoch: int,
    toolbox: Toolbox,
) -> None:
    """Write the file system with `files`: path in it → file of the host.

    `esp` is an EFI system partition, which becomes the file `esp.fat`. `epoch` (seconds) is every
    time stamp; equal arguments give equal bytes. `toolbox` is the group `iso`. Raises ToolError.
    """
    # The boot partition is a file within the ISO 9660 volume. El Torito's sector count has 16 bits,
    # and is 0 for 32 MiB or more: EDK2 then reads until the end of the volume. A partition that is
    # appended behind the volume would have no sectors there.
    boot = ["-e", ESP, "-no-emul-boot", "-efi-boot-part", "--efi-boot-image"]
    files = {**files, **({ESP: esp} if esp else {})}
    # Parents come before what they hold; "=" and "\" of a name are escaped.
    grafts = [f"/{_escaped(place)}={_escaped(str(path))}" for place, path in sorted(files.items())]
    toolbox.run(
        "xorriso", "-as", "mkisofs", "-quiet", "-V", LABEL, "-r", "-iso-level", "3",
        "--set_all_file_dates", time.strftime("%Y%m%d%H%M%S00", time.gmtime(epoch)),
        *(boot if esp else []), "-o", str(output), "-graft-points", *grafts,
        timeout=TIMEOUT, env={"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"},
    )  # fmt: skip


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace("=", "\\=")
