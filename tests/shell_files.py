"""The project's shell scripts, and how they are checked (`check`; unit tests of the guest)."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("builder/edgeimg", "overlays", "recipes", "tests", "docs", ".ci")
LINT = ("-x", "-P", "SCRIPTDIR", "-S", "warning")
FORMAT = ("-i", "4", "-ci", "-sr", "-bn")
_SHEBANG = re.compile(rb"#!\s*/(usr/)?bin/(env )?(ba|da)?sh\b")


def shell_files(root: Path = ROOT) -> list[str]:
    """Shell scripts by their first line, and `*.sh` that others source; relative to `root`."""
    return sorted(
        str(path.relative_to(root))
        for place in PLACES
        for path in (root / place).rglob("*")
        if path.is_file() and not path.is_symlink()
        if path.suffix == ".sh" or _SHEBANG.match(_head(path))
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
