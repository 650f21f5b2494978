"""What apt answers, as packages; and what is told to apt."""

from __future__ import annotations

import pytest
from edgeimg.errors import LockError
from edgeimg.fetch.mirrors import Mirrors
from edgeimg.lock.model import Package
from edgeimg.sources import apt
from edgeimg.sources.apt import Repository
from edgeimg.sources.debian import parse_uris, repositories

SHA256 = "0f702fdd5e5471efda9fece892e09ce73e3447968083e1f8c341f8b66b1fb340"
REPOSITORIES = (
    Repository("debian", "http://a.example/debian", ("trixie", "trixie-updates")),
    Repository("debian-security", "http://a.example/debian-security", ("trixie-security",)),
)


def line(uri: str, name: str, size: int = 9, digest: str = f"SHA256:{SHA256}") -> str:
    return f"'{uri}' {name} {size} {digest}\n"


def test_packages_are_read_from_print_uris() -> None:
    security = "http://a.example/debian-security/pool/updates/main/g/glibc/libc6_2.41%2bdeb13u4.deb"
    text = (
        "Reading package lists...\n"
        + line(security, "libc6_2.41+deb13u4_armhf.deb")
        + line("http://a.example/debian/pool/main/a/acl_2.deb", "acl_1%3a2.3-1%2bb1_all.deb", 77)
    )
    assert parse_uris(text, REPOSITORIES) == (
        Package(
            name="acl",
            version="1:2.3-1+b1",
            arch="all",
            archive="debian",
            path="pool/main/a/acl_2.deb",
            size=77,
            sha256=SHA256,
        ),
        Package(
            name="libc6",
            version="2.41+deb13u4",
            arch="armhf",
            archive="debian-security",
            path="pool/updates/main/g/glibc/libc6_2.41+deb13u4.deb",
            size=9,
            sha256=SHA256,
        ),
    )


def test_nothing_to_install_is_nothing() -> None:
    assert parse_uris("", REPOSITORIES) == ()


@pytest.mark.parametrize(
    "text",
    [
        line("http://a.example/debian/pool/x.deb", "x_1_all.deb", digest="MD5Sum:abc"),
        line("http://b.example/debian/pool/x.deb", "x_1_all.deb"),
        line("http://a.example/debian/pool/x.deb", "x.deb"),
        line("http://a.example/debian/pool/x.deb", "x_1_all.deb", digest=""),
    ],
    ids=["weak digest", "unknown archive", "odd name", "no digest"],
)
def test_an_answer_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(LockError, match="cannot understand apt's answer"):
        parse_uris(text, REPOSITORIES)


def test_sources_are_signed_by_debian() -> None:
    text = apt.sources(REPOSITORIES)
    assert text.count(f"Signed-By: {apt.KEYRING}") == 2
    assert "Trusted" not in text
    assert "Suites: trixie trixie-updates\n" in text


def test_a_snapshot_may_be_old_but_not_unsigned() -> None:
    snapshot = Repository("debian", "http://a.example/debian/20260101T000000Z", ("trixie",))
    text = apt.sources([snapshot])
    assert "Check-Valid-Until: no" in text
    assert "Signed-By" in text
    assert "Check-Valid-Until" not in apt.sources(REPOSITORIES)


def test_mirrors_are_tried_in_order() -> None:
    mirrors = Mirrors({"debian": ("http://a", "http://b"), "debian-security": ("http://s",)})
    bases = [[r.base for r in repositories("trixie", mirrors, n)] for n in range(2)]
    assert bases == [["http://a", "http://s"], ["http://b", "http://s"]]
    assert mirrors.choices() == 2


def test_unstable_has_no_updates() -> None:
    mirrors = Mirrors({"debian": ("http://a",)})
    assert [r.suites for r in repositories("sid", mirrors, 0)] == [("sid",)]
