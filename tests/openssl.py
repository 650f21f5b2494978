"""openssl as the judge of messages of PKCS #7."""

from __future__ import annotations

import subprocess
from pathlib import Path


def accepts(message: bytes, content: bytes, certificate: Path, place: Path) -> bool:
    """Whether it takes a message for the signature of `content`. Writes two files to `place`."""
    (place / "message").write_bytes(message)
    (place / "content").write_bytes(content)
    done = subprocess.run(
        ["openssl", "smime", "-verify", "-binary", "-inform", "DER", "-in", "message",
         "-content", "content", "-CAfile", certificate, "-purpose", "any", "-out", "/dev/null"],
        cwd=place, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode == 0
