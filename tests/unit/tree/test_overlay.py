"""Directories of a project as trees: hostile names, endless files, files that change meanwhile."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.errors import ArchiveError
from edgeimg.pack import scratch
from edgeimg.tree import Span, Tree, overlay

MIB = 1 << 20


def read(root: Path) -> Tree:
    return overlay.from_directory(root, origin="overlay:x")


@pytest.mark.parametrize("name", [b"\xff", b"gr\xfcn", b"\xed\xa0\x80"])
def test_names_are_text(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "ok").write_text("x")
    assert "ok" in read(tmp_path)
    place = tmp_path / os.fsdecode(name)
    place.symlink_to("ok")
    with pytest.raises(ArchiveError, match="is not UTF-8 text"):
        read(tmp_path)
    place.unlink()
    (tmp_path / "link").symlink_to(os.fsdecode(name))
    with pytest.raises(ArchiveError, match=r"link: .* is not UTF-8 text"):
        read(tmp_path)


def test_files_together_have_a_limit(tmp_path: Path) -> None:
    for number, size in enumerate((3 << 30, 1 << 30)):
        (tmp_path / str(number)).touch()
        os.truncate(tmp_path / str(number), size)
    assert read(tmp_path).size() == 4 << 30
    (tmp_path / "more").write_text("x")
    with pytest.raises(ArchiveError, match=r"more than 4096 MiB, with .*/more"):
        read(tmp_path)


def test_few_bytes_are_kept_in_memory(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}").touch()
        os.truncate(tmp_path / f"{number:02}", 8 * MIB)
    contents = [node.content for _, node in read(tmp_path).items()]
    assert [isinstance(content, Span) for content in contents] == [False] * 8 + [True] * 12


USES: dict[str, Callable[[Tree, Path], object]] = {
    "digest": lambda tree, _: tree.digest(),
    "tar": lambda tree, _: tree.write_tar(io.BytesIO(), mtime=0),
    "content": lambda tree, _: tree.read("large"),
    "scratch": lambda tree, work: scratch.write(tree["large"].content, work / "copy"),
}


@pytest.mark.parametrize("use", USES)
def test_a_large_file_that_changes_is_not_used(tmp_path: Path, use: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    large = root / "large"
    large.write_bytes(b"x" * 9 * MIB)
    tree = read(root)
    USES[use](tree, tmp_path)
    for change in (
        lambda: large.write_bytes(b"y" * 9 * MIB),
        lambda: os.truncate(large, 5),
        large.unlink,
        lambda: os.mkfifo(large),
    ):
        change()
        with pytest.raises(ArchiveError, match="large changed while edgeimg worked with it"):
            USES[use](tree, tmp_path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 9 * MIB)

    class Slow(io.BytesIO):
        def write(self, data: object, /) -> int:
            os.truncate(large, 5)
            return super().write(data)  # type: ignore[arg-type]

    with pytest.raises(ArchiveError, match="changed while"):
        read(tmp_path).write_tar(Slow(), mtime=0)


def test_a_file_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "walk", lambda root: iter([root / "gone"]))
    with pytest.raises(ArchiveError, match="gone changed while"):
        read(tmp_path)


def test_one_file_is_regular(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert overlay.content(tmp_path / "file") == b"x"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="pipe changed"):
        overlay.content(tmp_path / "pipe")
