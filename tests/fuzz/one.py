"""Fuzzes one reader with Atheris, until a finding or the end of libFuzzer's time.

    python tests/fuzz/one.py READER [OPTION OF LIBFUZZER]...

Started by run.py, which limits the memory and keeps the findings.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path
from random import Random

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "builder")]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["edgeimg"]):
    from tests.fuzz.readers import READERS


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    reader = READERS[sys.argv[1]]

    def test_one_input(data: bytes) -> None:
        seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
        with tempfile.TemporaryDirectory(prefix="edgeimg-fuzz.") as name:
            path, work = Path(name, "input"), Path(name, "work")
            work.mkdir()
            path.write_bytes(reader.wrap(data, Random(seed)))
            with contextlib.suppress(*reader.errors):
                reader.read(path, work)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
