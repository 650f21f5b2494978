"""A small image described: everything in it is a component, and both documents hold them all."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from edgeimg import sbom, tree
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb
from edgeimg.image.manifest import Contents, K3sFacts
from edgeimg.lock.model import ImagePin, Package
from edgeimg.sbom import Component, Kind, Sbom, Source
from edgeimg.services.layout import rootfs
from edgeimg.sources import k3s, oci
from edgeimg.sources.deb import Deb
from edgeimg.sources.k3s import K3sBundle
from edgeimg.sources.oci import ImageConfig
from edgeimg.tree import Tree, file
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.fake_k3s import FakeK3s, build_info, elf
from tests.samples import make_deb

LICENCE = b"Format: https://x/copyright-format/1.0/\n\nFiles: *\nLicense: %s\n"
OS_RELEASE = b'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nIMAGE_ID=gateway\n'
UNAME = "6.12.1-test"
SERVER = """\
path\tgithub.com/k3s-io/k3s/cmd/server
mod\tgithub.com/k3s-io/k3s\t\t
dep\tgithub.com/containerd/containerd\tv1.7.1
=>\tgithub.com/k3s-io/containerd\tv1.7.1-k3s1\th1:x=
dep\tgolang.org/x/net\tv0.40.0\th1:y=
"""
AGENT = (
    "path\texample.org/agent\nmod\texample.org/agent\tv2.0.0\t\ndep\tgolang.org/x/net\tv0.40.0\n"
)
STATUS = b"""\
Package: libdb
Status: install ok installed
Architecture: amd64
Version: 5.3-2
Maintainer: Debian Folks <folks@example.org>
Description: x
"""
PINNED = 1_700_000_000


class Sample:
    """The pieces of a composed image, made by hand."""

    def __init__(self, directory: Path, *, standin: bool = False) -> None:
        self.directory = directory
        busybox = self.deb(
            "busybox-static",
            b"GPL-2",
            {"usr/bin/busybox": b"bb"},
            "Source: busybox (1.37-6)\nStatic-Built-Using: glibc (= 2.41-12)\n",
        )
        app = self.deb("app", b"Expat", {"usr/bin/app": b"app"}, "Depends: libapp\n")
        lib = self.deb("libapp", b"LGPL-2.1+ or odd", {"usr/lib/libapp.so": b"so"}, "Source: app\n")
        kernel = self.deb(
            f"linux-image-{UNAME}",
            b"GPL-2",
            {f"boot/vmlinuz-{UNAME}": b"k", f"usr/lib/modules/{UNAME}/x": b""},
            "Source: linux-signed-amd64 (6.12.1+1)\n",
        )
        boot = self.deb("systemd-boot-efi", b"LGPL-2.1+", {"usr/lib/x.efi": b"efi"})
        firmware = self.deb("firmware-wifi", b"odd", {"usr/lib/firmware/wifi.bin": b"w"})
        self.groups = {
            "root": (app, lib, firmware, busybox),
            "kernel": (kernel,),
            "boot": (boot,),
            "initrd": (busybox,),
            "containers": (busybox,),
        }
        pinned = {"reference": "example.org/db:3", "digest": f"sha256:{'d' * 64}"}
        self.images = {"db": ImagePin(**pinned, source=f"example.org/db@sha256:{'e' * 64}")}
        self.kernel = kernel_deb.from_deb(kernel[1])
        self.k3s = self.unpack_k3s(standin)
        self.root = self.compose()
        facts = K3sFacts(version="v1", source="file", sha256="0" * 64, standin=standin)
        self.contents = Contents(
            id="gateway",
            version="1.2",
            arch="x86-64",
            epoch=PINNED,
            kernel=UNAME,
            k3s=facts,
            packages=(),
            components={},
        )

    def deb(
        self, name: str, licence: bytes, files: dict[str, bytes], control: str = ""
    ) -> tuple[Package, Deb]:
        text = {f"usr/share/doc/{name}/copyright": LICENCE % licence}
        control = f"Maintainer: Debian Folks <folks@example.org>\n{control}"
        made = make_deb(self.directory, {**files, **text}, name=name, control=control)
        package = Package(
            name=name,
            version="1.0",
            arch="all",
            archive="debian",
            path="x",
            size=1,
            sha256=made.sha256,
        )
        return package, made

    def unpack_k3s(self, standin: bool) -> K3sBundle:
        fake = FakeK3s(X86_64)
        info = (
            SERVER.replace("github.com/k3s-io/k3s", "edgeimg.local/standin") if standin else SERVER
        )
        fake.programs["k3s"] = elf(X86_64, build_info(info))
        binary = self.directory / "k3s"
        binary.write_bytes(fake.binary())
        return k3s.unpack(binary, X86_64, Store(self.directory / "cache"), source="file")

    def compose(self) -> Tree:
        image = Tree().with_nodes(
            {
                "bin/busybox": file(b"bb"),
                "bin/agent": file(elf(X86_64, build_info(AGENT))),
            }
        )
        app = oci.ContainerImage(
            name="localhost/app:1", tree=image, run=ImageConfig(entrypoint=("/x",)).to_json()
        )
        archive = oci.archive([app], X86_64, 0).data
        mine = Tree().with_nodes(
            {
                "usr/lib/os-release": file(OS_RELEASE),
                "usr/share/edgeimg/images/app.tar": file(archive, origin="images"),
                f"{rootfs('db')}/var/lib/dpkg/status": file(STATUS, origin="service:db"),
                f"{rootfs('db')}/agent": file(elf(X86_64, build_info(AGENT)), origin="service:db"),
                "etc/motd": file(b"hello", origin="overlay:site"),
                "usr/bin/agent": file(elf(X86_64, build_info(AGENT)), origin="overlay:site"),
            }
        )
        return tree.union([*(deb.tree for _, deb in self.groups["root"]), self.k3s.tree, mine])

    def describe(self) -> Sbom:
        return sbom.describe_contents(
            contents=self.contents,
            root=self.root,
            groups=self.groups,
            kernel=self.kernel,
            k3s=self.k3s,
            images=self.images,
        )


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def described(sample: Sample) -> Sbom:
    return sample.describe()


def test_a_services_container_image_and_what_is_in_it(described: Sbom) -> None:
    image = named(described, "example.org/db")
    assert (image.ref, image.version, image.sha256) == ("service:db", "3", "d" * 64)
    assert f"sha256:{'e' * 64}" in image.purl
    library = named(described, "libdb")
    assert library.ref in described.relations[image.ref]
    programs = [c for c in described.components if f"{rootfs('db')}/agent" in c.paths]
    assert programs
    assert programs[0].ref in described.relations[image.ref]


def named(described: Sbom, name: str) -> Component:
    (found,) = (component for component in described.components if component.name == name)
    return found


def below(described: Sbom, ref: str) -> set[str]:
    names = {component.ref: component.name for component in described.components}
    return {names[other] for other in described.relations.get(ref, ())}


def test_each_thing_is_one_component_of_the_right_kind(described: Sbom) -> None:
    assert Counter(component.kind for component in described.components) == {
        Kind.PACKAGE: 4,
        Kind.FIRMWARE: 1,
        Kind.KERNEL: 1,
        Kind.BOOT_LOADER: 1,
        Kind.K3S: 1,
        Kind.PROGRAM: 5,
        Kind.MODULE: 3,
        Kind.CONTAINER: 2,
        Kind.FILE: 5,
    }
    refs = [component.ref for component in described.components]
    assert refs == sorted(set(refs))
    assert {other for others in described.relations.values() for other in others} == set(refs)


def test_packages_tell_source_licence_and_where_they_are(described: Sbom) -> None:
    busybox = named(described, "busybox-static")
    assert busybox.source == Source(name="busybox", version="1.37-6")
    assert busybox.built_using == (Source(name="glibc", version="2.41-12"),)
    assert busybox.parts == ("containers", "initrd", "root")
    assert busybox.licences == ("GPL-2.0-only",)
    assert named(described, "libapp").licences == ("LGPL-2.1-or-later OR LicenseRef-odd",)
    assert below(described, named(described, "app").ref) == {"libapp"}


def test_kernel_is_known_by_its_source_and_release(described: Sbom) -> None:
    kernel = named(described, f"linux-image-{UNAME}")
    assert kernel.source == Source(name="linux", version="6.12.1-1")
    assert kernel.note == f"Linux {UNAME}"


def test_k3s_and_its_modules(described: Sbom) -> None:
    found = next(c for c in described.components if c.kind is Kind.K3S)
    assert found.purl == "pkg:golang/github.com/k3s-io/k3s@v1.35.0%2Bk3s1"
    assert below(described, "k3s") == {"k3s", "cni"}
    (program,) = (ref for ref in described.relations["k3s"] if ref.endswith("/k3s"))
    assert "its version is unknown" in named(described, "cni").note
    assert below(described, program) == {
        "stdlib",
        "github.com/k3s-io/containerd",
        "golang.org/x/net",
    }
    fork = named(described, "github.com/k3s-io/containerd")
    assert fork.replaces == "github.com/containerd/containerd"
    assert next(c for c in described.components if c.ref == program).version == "v1.35.0+k3s1"


def test_container_images_tell_what_is_in_them(described: Sbom) -> None:
    image = next(c for c in described.components if c.kind is Kind.CONTAINER)
    assert image.name == "localhost/app"
    assert below(described, image.ref) == {"busybox-static", "agent"}
    inside = next(c for c in described.components if c.ref == "program:localhost/app:1:/bin/agent")
    assert inside.purl == "pkg:golang/example.org/agent@v2.0.0"


def test_files_of_overlays_are_told(described: Sbom) -> None:
    motd = named(described, "etc/motd")
    assert motd.note == "from the overlay site"
    assert motd.sha256.startswith("2cf24dba")
    assert below(described, "file:usr/bin/agent") == {"agent"}


def test_every_file_of_the_root_belongs_to_a_component(sample: Sample, described: Sbom) -> None:
    names = {component.name for component in described.components}
    files = {path for c in described.components for path in c.paths}
    for path, node in sample.root.items():
        if node.kind is tree.Kind.FILE:
            assert (
                node.origin.removeprefix("package:") in names
                or node.origin in described.relations
                or path in files
            ), f"{path} of {node.origin}"


def test_the_stand_in_is_called_that(tmp_path: Path) -> None:
    described = Sample(tmp_path, standin=True).describe()
    found = named(described, "k3s-standin")
    assert described.standin
    assert "NOT K3s" in found.note
    assert "k3s-io" not in found.purl
    document = json.loads(sbom.cyclonedx(described))
    assert "NOT K3s" in document["metadata"]["component"]["description"]
    assert b"NOT K3s" in sbom.spdx(described)


def test_cyclonedx_is_valid_and_complete(described: Sbom) -> None:
    text = sbom.cyclonedx(described).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    components = {c["bom-ref"]: c for c in document["components"]}
    assert components.keys() == {c.ref for c in described.components} | {"distribution"}
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    busybox = components[named(described, "busybox-static").ref]
    assert busybox["licenses"] == [{"license": {"id": "GPL-2.0-only"}}]
    assert busybox["supplier"]["name"] == "Debian Folks <folks@example.org>"
    assert {"name": "edgeimg:built-using", "value": "glibc 2.41-12"} in busybox["properties"]
    lib = components[named(described, "libapp").ref]
    assert lib["licenses"] == [{"expression": "LGPL-2.1-or-later OR LicenseRef-odd"}]
    related = {d["ref"]: set(d.get("dependsOn", ())) for d in document["dependencies"]}
    for ref, others in described.relations.items():
        assert related[ref] >= set(others)
    assert related.keys() == components.keys() | {"image"}


def test_spdx_is_valid_and_complete(described: Sbom, tmp_path: Path) -> None:
    path = tmp_path / "sample.spdx.json"
    path.write_bytes(sbom.spdx(described))
    document = parse_file(str(path))
    assert [m.validation_message for m in validate_full_spdx_document(document)] == []
    assert Counter(p.name for p in document.packages) == Counter(
        [c.name for c in described.components] + [described.name]
    )
    assert len(document.relationships) == 1 + sum(map(len, described.relations.values()))


@pytest.mark.parametrize("encode", [sbom.cyclonedx, sbom.spdx])
def test_equal_images_give_equal_bytes(
    encode: Any, sample: Sample, described: Sbom, tmp_path: Path
) -> None:
    again = Sample(tmp_path)
    again.groups = {name: again.groups[name][::-1] for name in reversed(again.groups)}
    assert encode(again.describe()) == encode(described)
    changed = replace(described, epoch=PINNED + 60)
    assert encode(changed) != encode(described)


def test_the_serial_number_is_the_contents(described: Sbom) -> None:
    first = json.loads(sbom.cyclonedx(described))["serialNumber"]
    newer = json.loads(sbom.cyclonedx(replace(described, version="1.3")))["serialNumber"]
    assert first != newer


def test_rows_for_people(described: Sbom) -> None:
    rows = sbom.rows(described)
    assert len(rows) == len(described.components)
    assert {frozenset(row) for row in rows} == {
        frozenset(("name", "version", "kind", "licence", "purl"))
    }
    (lib,) = (row for row in rows if row["name"] == "libapp")
    assert (lib["kind"], lib["licence"]) == ("package", "LGPL-2.1-or-later OR odd")
    assert rows == sorted(rows, key=lambda row: (row["kind"], row["name"], row["version"]))
