"""Where packages come from: what the user names, else what apt knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.errors import LockError
from edgeimg.fetch.mirrors import Mirrors, from_host

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEB822 = f"""\
# written by an installer
Types: deb deb-src
# a remark inside a paragraph
URIs: http://a.example/debian/
 http://b.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: {KEYRING}

Types: deb
URIs: http://a.example/sec
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = f"""\
# deb http://comment.example/debian bookworm main
deb [arch=amd64 signed-by={KEYRING}] http://one.example/archive bookworm main # note
deb http://one.example/debian-security bookworm-security main contrib
deb cdrom:[Debian]/ bookworm main
deb-src http://source.example/debian bookworm main
deb https://third.example/linux/debian bookworm stable
deb https://packages.example stable main
deb http://archive.example/ubuntu noble main
not a line
"""


def test_deb822_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    found = from_host({}, apt=tmp_path).bases
    assert found["debian"] == ("http://a.example/debian", "http://b.example/debian")
    assert found["debian-security"] == ("http://a.example/sec",)


def test_one_line_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    found = from_host({}, apt=tmp_path).bases
    assert found["debian"] == ("http://one.example/archive",)
    assert found["debian-security"] == ("http://one.example/debian-security",)


def test_files_of_other_suffixes_are_not_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/old.list.disabled").write_text(ONE_LINE)
    with pytest.raises(LockError, match="no Debian archive configured"):
        from_host({}, apt=tmp_path)


def test_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    env = {"EDGEIMG_MIRROR": " https://x.example/d/  http://y.example/d "}
    found = from_host(env, apt=tmp_path).bases
    assert found["debian"] == ("https://x.example/d", "http://y.example/d")
    assert found["debian-security"] == ("http://one.example/debian-security",)


def test_without_apt_the_security_archive_is_beside_the_main_one(tmp_path: Path) -> None:
    found = from_host({"EDGEIMG_MIRROR": "https://x.example/debian"}, apt=tmp_path).bases
    assert found["debian-security"] == ("https://x.example/debian-security",)


def test_without_any_mirror_the_variables_are_named(tmp_path: Path) -> None:
    with pytest.raises(LockError) as caught:
        from_host({}, apt=tmp_path)
    assert "EDGEIMG_MIRROR=" in (caught.value.hint or "")


def test_a_mirror_is_a_url(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"EDGEIMG_SECURITY_MIRROR: .* is not an http"):
        from_host({"EDGEIMG_SECURITY_MIRROR": "x.example"}, apt=tmp_path)


def test_urls_are_quoted_and_in_order() -> None:
    mirrors = Mirrors({"debian": ("http://a.example/d", "http://b.example/d")})
    assert mirrors.urls("debian", "pool/x_1+2~3 4.deb") == (
        "http://a.example/d/pool/x_1+2~3%204.deb",
        "http://b.example/d/pool/x_1+2~3%204.deb",
    )
    assert mirrors.base("debian", 0) == "http://a.example/d"
    assert mirrors.base("debian", 7) == "http://b.example/d"
    with pytest.raises(LockError, match="no mirror of the archive 'debian-security'"):
        mirrors.urls("debian-security", "pool/x")
