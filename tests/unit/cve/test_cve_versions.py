"""Which of two versions is the later one."""

from __future__ import annotations

from itertools import combinations

import pytest
from edgeimg.cve import versions
from hypothesis import given
from hypothesis import strategies as st

DEBIAN = [
    "1.0~~",
    "1.0~~a",
    "1.0~rc1-1",
    "1.0~rc2-1",
    "1.0",
    "1.0-0.1",
    "1.0-1~deb12u1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb13u1",
    "1.0-1+deb13u10",
    "1.0-1.1",
    "1.0-2",
    "1.0-10",
    "1.0a-1",
    "1.0+dfsg-1",
    "1.0.1-1",
    "1.10-1",
    "6.12.117-1",
    "1:0.1",
    "1:1.37.0-6+b9",
    "2:0.0.1",
]
SEMVER = [
    "v0.0.0-20190101000000-abcdef123456",
    "v0.0.0-20230101000000-123456abcdef",
    "v0.1.0",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "v1.2",
    "1.2.1",
    "v1.10.0+incompatible",
    "1.26rc1",
    "1.26.0-rc.2",
    "1.26",
    "1.26.1",
    "v1.34.9+k3s1",
    "v1.35.0-rc1+k3s1",
    "v1.35.0+k3s1",
    "v1.35.0-k3s2",
    "v1.35.1+k3s1",
]


@pytest.mark.parametrize(
    ("compare", "ordered"),
    [(versions.debian, DEBIAN), (versions.semver, SEMVER)],
    ids=["debian", "semver"],
)
def test_order(compare: versions.Compare, ordered: list[str]) -> None:
    for earlier, later in combinations(ordered, 2):
        assert compare(earlier, later) < 0, f"{earlier} before {later}"
        assert compare(later, earlier) > 0
    for version in ordered:
        assert compare(version, version) == 0


@pytest.mark.parametrize(
    ("compare", "one", "other"),
    [
        (versions.debian, "0:1.0-1", "1.0-1"),
        (versions.debian, "1.00-1", "1.0-1"),
        (versions.debian, "1.0-0", "1.0"),
        (versions.semver, "v1.35.0+k3s1", "1.35.0"),
        (versions.semver, "v1.35.0-k3s1", "1.35.0"),
        (versions.semver, "v2.0.0+incompatible", "2.0.0"),
        (versions.semver, "1.26.2 X:nodwarf5", "1.26.2"),
        (versions.semver, "1.26rc1", "1.26.0-rc.1"),
    ],
)
def test_equals(compare: versions.Compare, one: str, other: str) -> None:
    assert compare(one, other) == 0 == compare(other, one)


@pytest.mark.parametrize("version", ["", "a:1-1", "1:"])
def test_what_is_no_debian_version(version: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        versions.debian(version, "1")


@pytest.mark.parametrize("version", ["", "devel", "v1.x", "1.2.3.4", "1.2.3-", "a1b2c3d-dirty"])
def test_what_is_no_semantic_version(version: str) -> None:
    with pytest.raises(ValueError, match="is no semantic version"):
        versions.semver(version, "1")


parts = st.text("0129az~+.", min_size=1, max_size=6)


@given(parts, parts, parts)
def test_debian_order_is_total(a: str, b: str, c: str) -> None:
    assert versions.debian(a, b) == 0 or (versions.debian(a, b) < 0) != (versions.debian(b, a) < 0)
    if versions.debian(a, b) <= 0 and versions.debian(b, c) <= 0:
        assert versions.debian(a, c) <= 0
