"""The Tree: links followed, merges, pruning, and one canonical tar whatever the order."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from edgeimg.errors import ArchiveError
from edgeimg.tree import Kind, Node, Span, Tree, directory, file, normalise, replace, symlink, union
from edgeimg.tree.overlay import from_directory
from hypothesis import given, settings
from hypothesis import strategies as st

few = settings(max_examples=40, deadline=None)

NAMES = st.text(alphabet="ab.-é", min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
FILES = st.dictionaries(PATHS, st.binary(max_size=8), max_size=12).filter(
    lambda files: (
        not any(f"{path}/" in f"{other}/" for path in files for other in files if path != other)
    )
)


def tree_of(files: dict[str, bytes]) -> Tree:
    return Tree().with_nodes({path: file(content) for path, content in files.items()})


def tar_of(tree: Tree) -> bytes:
    out = io.BytesIO()
    tree.write_tar(out, mtime=1_700_000_000)
    return out.getvalue()


@few
@given(FILES, st.randoms())
def test_tar_does_not_depend_on_the_order_of_insertion(
    files: dict[str, bytes], random: object
) -> None:
    shuffled = list(files.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert tar_of(tree_of(files)) == tar_of(tree_of(dict(shuffled)))


@few
@given(FILES)
def test_tar_holds_what_the_tree_holds_parents_first(files: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(tree_of(files)))) as archive:
        seen: set[str] = {""}
        found = {}
        for info in archive.getmembers()[1:]:
            assert info.name.rpartition("/")[0] in seen
            assert (info.mtime, info.uid, info.gid, info.uname) == (1_700_000_000, 0, 0, "")
            seen.add(info.name)
            if info.isfile():
                found[info.name] = archive.extractfile(info).read()  # type: ignore[union-attr]
    assert found == files


@few
@given(FILES, FILES)
def test_merge_puts_the_other_tree_on_top(below: dict[str, bytes], above: dict[str, bytes]) -> None:
    try:
        merged = tree_of(below).merge(tree_of(above))
    except ArchiveError:
        directories = {
            path
            for tree in (below, above)
            for path, node in tree_of(tree).items()
            if node.kind is Kind.DIRECTORY
        }
        assert directories & (below.keys() | above.keys())
        return
    files = {path: node.read() for path, node in merged.items() if node.kind is Kind.FILE}
    assert files == {**below, **above}


@few
@given(FILES, FILES)
def test_digest_tells_trees_apart_and_nothing_else(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    same = tree_of(one).digest() == tree_of(other).digest()
    assert same == (one == other)


@few
@given(FILES)
def test_under_finds_what_a_plain_search_finds(files: dict[str, bytes]) -> None:
    tree = tree_of(files)
    nodes = tree.items()
    for path in dict(nodes):
        assert tree.under(path) == [item for item in nodes if item[0].startswith(f"{path}/")]


def test_merge_follows_links_of_the_lower_tree() -> None:
    lower = Tree().with_nodes({"usr/bin": directory(), "bin": symlink("usr/bin")})
    merged = lower.merge(tree_of({"bin/tool": b"x"}))
    assert merged["usr/bin/tool"].read() == b"x"
    assert merged["bin"].kind is Kind.SYMLINK
    assert "bin/tool" not in merged


def test_merge_keeps_the_mode_of_a_directory_that_is_there() -> None:
    lower = Tree({"tmp": directory(mode=0o1777)})
    assert lower.merge(Tree({"tmp": directory()}))["tmp"].mode == 0o1777


@pytest.mark.parametrize("swapped", [False, True])
def test_merge_refuses_a_file_for_a_directory(swapped: bool) -> None:
    trees = [tree_of({"etc/conf": b"x"}), tree_of({"etc": b"x"})]
    one, other = reversed(trees) if swapped else trees
    with pytest.raises(ArchiveError, match="is a directory"):
        one.merge(other)


def test_resolve_follows_links_within_the_tree() -> None:
    tree = Tree(
        {
            "usr": directory(),
            "usr/lib": directory(),
            "lib": symlink("usr/lib"),
            "up": symlink("../../../usr/lib"),
            "absolute": symlink("/lib/x"),
        }
    )
    assert tree.resolve("lib/ld.so") == "usr/lib/ld.so"
    assert tree.resolve("up/ld.so") == "usr/lib/ld.so"
    assert tree.resolve("absolute") == "usr/lib/x"
    assert tree.resolve("usr/../lib") == "usr/lib"


def test_resolve_refuses_a_loop() -> None:
    tree = Tree({"a": symlink("b"), "b": symlink("a")})
    with pytest.raises(ArchiveError, match="loop"):
        tree.resolve("a/x")


def test_without_takes_what_is_below_along() -> None:
    tree = tree_of({"usr/share/doc/x/copyright": b"", "usr/share/docs": b""})
    left = tree.without(lambda path, _: path == "usr/share/doc")
    assert [path for path, _ in left.items()] == ["usr", "usr/share", "usr/share/docs"]


@pytest.mark.parametrize("name", ["../etc", "a/../../b", "a/..", "a\0b"])
def test_normalise_refuses_names_that_leave(name: str) -> None:
    with pytest.raises(ArchiveError):
        normalise(name)


def test_normalise_drops_what_means_nothing() -> None:
    assert normalise("./usr//bin/./x/") == "usr/bin/x"


def test_spans_read_their_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    tree = Tree({"x": file(Span(path, 3, 4)), "y": file(b"3456")})
    assert tree["x"].read() == b"3456" == tree["y"].read()
    assert tree["x"].size == 4
    assert Tree({"x": tree["x"]}).digest() == Tree({"x": tree["y"]}).digest()


def test_digest_sees_owner_mode_target_and_attributes() -> None:
    base = file(b"x")
    variants = [
        base,
        replace(base, mode=0o755),
        replace(base, uid=1),
        replace(base, gid=1),
        replace(base, xattrs=(("security.capability", b"\1"),)),
        symlink("x"),
        symlink("y"),
        directory(),
    ]
    assert len({Tree({"p": node}).digest() for node in variants}) == len(variants)


def test_tar_carries_attributes_and_set_id_bits() -> None:
    node = replace(file(b"x", mode=0o4755), uid=7, xattrs=(("security.capability", b"\1\2"),))
    with tarfile.open(fileobj=io.BytesIO(tar_of(Tree({"p": node})))) as archive:
        info = archive.getmember("p")
    assert (info.mode, info.uid) == (0o4755, 7)
    assert info.pax_headers["SCHILY.xattr.security.capability"] == "\1\2"


def test_extract_and_read_back(tmp_path: Path) -> None:
    tree = Tree().with_nodes(
        {"usr/bin/x": file(b"x", mode=0o4755), "etc/c": file(b"c"), "bin": symlink("usr/bin")}
    )
    tree.extract(tmp_path / "out")
    back = from_directory(tmp_path / "out", origin="overlay")
    assert [path for path, _ in back.items()] == [path for path, _ in tree.items()]
    assert back["usr/bin/x"].mode == 0o755
    assert back["bin"].target == "usr/bin"


def test_an_overlay_is_what_git_keeps_of_it(tmp_path: Path) -> None:
    (tmp_path / "etc/empty/still").mkdir(parents=True)
    (tmp_path / "etc/full").mkdir()
    (tmp_path / "etc/full/file").write_text("x")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/link").symlink_to("/etc")
    found = from_directory(tmp_path, origin="overlay")
    assert [path for path, _ in found.items()] == [
        "etc", "etc/full", "etc/full/file", "links", "links/link",
    ]  # fmt: skip


def test_extract_does_not_write_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").symlink_to(outside / "x")
    with pytest.raises(OSError, match="exist"):
        Tree({"x": file(b"x")}).extract(tmp_path / "out")
    assert not (outside / "x").exists()


def test_sizes_are_told_by_origin() -> None:
    tree = Tree({"a": file(b"123", origin="k3s"), "b": file(b"1", origin="x"), "c": directory()})
    assert tree.size() == 4
    assert tree.size_by_origin(share="usr") == {"k3s": 3, "x": 1, "edgeimg": 0}


def test_twins_are_hard_links_to_the_first_and_count_once() -> None:
    place, library = "usr/lib/services", file(b"library", origin="package:libc6")
    nodes = {
        f"{place}/a/libc": replace(library, origin="service:a"),
        f"{place}/b/libc": replace(library, origin="service:b"),
        f"{place}/empty": file(b""),
        "etc/copy": replace(library, mode=0o600),
        "usr/empty": file(b""),
        "usr/lib/x/libc": library,
        "usr/one": file(b"1"),
        "var/one": file(b"1"),
    }
    tree = Tree().with_nodes(nodes)
    first, *others = [f"{place}/a/libc", f"{place}/b/libc", "usr/lib/x/libc"]
    assert tree.twins(place) == [[first, *others]]
    sizes = tree.size_by_origin(share=place)
    assert (sizes["package:libc6"], sizes["service:a"], sizes["service:b"]) == (14, 0, 0)
    plain, shared = io.BytesIO(), io.BytesIO()
    tree.write_tar(plain, mtime=0)
    tree.write_tar(shared, mtime=0, share=place)
    plain.seek(0)
    shared.seek(0)
    with tarfile.open(fileobj=plain) as one, tarfile.open(fileobj=shared) as other:
        assert not any(member.islnk() for member in one)
        links = {member.name: member.linkname for member in other if member.islnk()}
        assert links == dict.fromkeys(others, first)
        for member in (member for member in one if member.isfile()):
            content, same = one.extractfile(member), other.extractfile(member.name)
            assert content
            assert same
            assert content.read() == same.read()


def test_union_and_map() -> None:
    tree = union([tree_of({"a": b"1"}), tree_of({"a": b"2", "b": b"3"})])
    shouted = tree.map(lambda _, node: replace(node, origin="all") if node.size else node)
    assert {(path, node.read(), node.origin) for path, node in shouted.items()} == {
        ("a", b"2", "all"),
        ("b", b"3", "all"),
    }


def test_nodes_are_frozen() -> None:
    node: Node = file(b"x")
    with pytest.raises(AttributeError):
        node.mode = 0  # type: ignore[misc]
