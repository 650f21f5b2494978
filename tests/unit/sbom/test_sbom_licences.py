"""Licences out of Debian's copyright files."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from edgeimg.sbom import licences
from license_expression import get_spdx_licensing

from tests.samples import deb_bytes, make_deb, member, read_deb

DEP5 = """\
Format: https://example.org/packaging-manuals/copyright-format/1.0/
Upstream-Name: thing
License: Not-this-one

Files: *
Copyright: 2020 Somebody
License: LGPL-2.1+

Files: src/crc.c
 src/crc.h
Copyright: 2021 Else
License: Expat or GPL-2
 Some text of it.

Files: debian/*
Copyright: 2022 Packager
License: GPL-3+

License: GPL-2
 On Debian systems, see /usr/share/common-licenses/GPL-2.
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2", "GPL-2.0-only"),
        ("LGPL-2.1-or-later", "LGPL-2.1-or-later"),
        ("GPL-3.0+", "GPL-3.0-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("Expat", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("Artistic or GPL-1+", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
        ("Apache-2.0, BSL-1.0 and zlib", "Apache-2.0 AND BSL-1.0 AND Zlib"),
        ("GPL-2+ and Expat, or MPL-2.0", "(GPL-2.0-or-later AND MIT) OR MPL-2.0"),
        ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
        ("GPL-2+ with a strange exception", "LicenseRef-GPL-2-with-a-strange-exception"),
        ("public-domain", "LicenseRef-public-domain"),
    ],
)
def test_names_become_spdx(name: str, expected: str) -> None:
    assert licences.expression(name) == expected


def test_machine_readable_files_name_what_is_in_the_program() -> None:
    assert licences.parse(DEP5) == ("LGPL-2.1-or-later", "MIT OR GPL-2.0-only")


def test_prose_is_understood_as_far_as_it_is_unmistakable() -> None:
    text = (
        "This is free software; see /usr/share/common-licenses/GPL-2 and\n"
        "/usr/share/common-licenses/Apache-2.0.\n"
        "Parts: GNU Lesser General Public\nLicense, version 2.1 (or any later).\n"
        "Permission is hereby granted, free of\ncharge, to any person"
    )
    expected = ("Apache-2.0", "LicenseRef-GPL-2", "LicenseRef-LGPL-2.1", "MIT")
    assert licences.parse(text) == expected
    assert licences.parse("All rights are somewhere else.") == ()


def test_several_licences_are_one_expression_that_parsers_accept() -> None:
    text = licences.joined(["MIT OR GPL-2.0-only", "Zlib"])
    assert text == "(MIT OR GPL-2.0-only) AND Zlib"
    parsed = get_spdx_licensing().parse(text, validate=True)
    assert {str(key) for key in parsed.symbols} == {"MIT", "GPL-2.0-only", "Zlib"}
    assert licences.joined(["Zlib"]) == "Zlib"
    assert licences.joined([]) == ""


def test_documentation_may_be_a_link_to_another_package(tmp_path: Path) -> None:
    base = make_deb(tmp_path, {"usr/share/doc/base/copyright": DEP5.encode()}, name="base")
    link = member("./usr/share/doc/lib", type=tarfile.SYMTYPE, link="base")
    lib = read_deb(deb_bytes([link], name="lib"), tmp_path, name="lib")
    bare = make_deb(tmp_path, {"usr/bin/x": b""}, name="bare")
    known = licences.Licences([lib, bare, base])
    assert known.of("lib") == known.of("base") != ()
    assert known.of("bare") == ()
