"""The default recipe's images described: everything locked is in the SBOM, and others read it."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from collections.abc import Callable
from functools import cache as cached
from itertools import pairwise
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from edgeimg import process, sbom
from edgeimg.arch import ARCHITECTURES, ARM64, Arch
from edgeimg.build import pipeline
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import plan_build
from edgeimg.cache.store import Store
from edgeimg.cve import cve, versions
from edgeimg.lock.model import Lock
from edgeimg.recipe.file import load
from edgeimg.sbom import Kind, Sbom, gomod
from edgeimg.sources import k3s
from edgeimg.tools import Toolbox
from edgeimg.ui import Ui
from license_expression import get_spdx_licensing
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.fake_k3s import FakeK3s
from tests.standin import compiled

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]
each_arch = pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)

Describe = Callable[[Arch], Sbom]


@pytest.fixture(scope="module")
def describe(cache: Store, tmp_path_factory: pytest.TempPathFactory) -> Describe:
    """The default recipe with a K3s made of nothing; each architecture once."""
    directory = tmp_path_factory.mktemp("k3s")
    source = load(PROJECT / "recipes/gateway.toml")

    @cached
    def run(arch: Arch) -> Sbom:
        binary = directory / arch.name
        binary.write_bytes(FakeK3s(arch).binary())
        wanted = BuildOptions(output=directory, k3s=K3sChoice(source="file", path=binary))
        return pipeline.sbom(plan_build(source, arch, wanted), store=cache, ui=Ui(verbosity=-1))

    return run


@each_arch
def test_everything_locked_is_there(describe: Describe, default_lock: Lock, arch: Arch) -> None:
    described = describe(arch)
    told = {(c.name, c.version, c.sha256): c for c in described.components}
    for group, packages in default_lock.images[arch.name].groups.items():
        for package in packages:
            component = told[package.name, package.version, package.sha256]
            assert group in component.parts
            assert component.source is not None
            assert component.source.name in package.source.split("/")[-1].replace("-signed-", "/")
    kinds = {component.kind for component in described.components}
    assert kinds >= {Kind.KERNEL, Kind.BOOT_LOADER, Kind.K3S, Kind.CONTAINER, Kind.FILE}
    assert (described.distribution.version, described.distribution.codename) == ("13", "trixie")


@each_arch
def test_every_package_tells_its_licences(describe: Describe, arch: Arch) -> None:
    licensing = get_spdx_licensing()
    for component in describe(arch).components:
        if component.purl.startswith("pkg:deb/"):
            assert component.licences, component.name
        for text in component.licences:
            plain = re.sub(r"LicenseRef-[A-Za-z0-9.-]+", "MIT", text)
            assert licensing.validate(plain).errors == [], f"{component.name}: {text}"


@each_arch
def test_container_images_hold_what_they_were_composed_from(describe: Describe, arch: Arch) -> None:
    described = describe(arch)
    names = {component.ref: component.name for component in described.components}
    inside = {
        component.name: {names[ref] for ref in described.relations[component.ref]}
        for component in described.components
        if component.kind is Kind.CONTAINER
    }
    assert inside == {
        "localhost/edgeimg/pause": {"catatonit"},
        "localhost/edgeimg/hello": {"busybox-static"},
    }


@each_arch
def test_both_documents_are_valid(describe: Describe, arch: Arch, tmp_path: Path) -> None:
    described = describe(arch)
    text = sbom.cyclonedx(described).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    path = tmp_path / "x.spdx.json"
    path.write_bytes(sbom.spdx(described))
    problems = validate_full_spdx_document(parse_file(str(path)))
    assert [problem.validation_message for problem in problems] == []


@each_arch
def test_a_fix_of_the_kernel_is_found_missing(
    describe: Describe, arch: Arch, tmp_path: Path
) -> None:
    """Signed kernels have a source of their own, which no advisory names."""
    described = describe(arch)
    kernel = next(c for c in described.components if c.kind is Kind.KERNEL)
    fixes = {"CVE-2026-1111": f"{kernel.version}.1", "CVE-2026-2222": kernel.version}
    issues = {
        name: {"releases": {"trixie": {"status": "resolved", "fixed_version": version}}}
        for name, version in fixes.items()
    }
    feed = tmp_path / "tracker.json"
    feed.write_text(json.dumps({"linux": issues}))
    (finding,) = cve.judge(sbom.cyclonedx(described), [feed]).findings
    assert (finding.path, finding.item) == (f"linux {kernel.version}", "CVE-2026-1111")


@each_arch
def test_modules_are_those_that_go_itself_sees(
    cache: Store, toolbox: Callable[[str], Toolbox], arch: Arch, tmp_path: Path
) -> None:
    binary = compiled(arch, cache)
    go = shutil.which("go") or toolbox("go").path("usr/bin/go")
    bundle = k3s.unpack(binary, arch, cache, source="standin")
    node = bundle.tree[bundle.tree.resolve("usr/bin/k3s")]
    copy = tmp_path / "k3s"
    copy.write_bytes(node.read())
    told = process.run([go, "version", "-m", copy], timeout=60).decode()
    program = gomod.read(node.content)
    assert program is not None
    assert len(program.modules) > 100
    lines = re.findall(r"^\t(dep|=>)\t(\S+)\t(\S+)", told, re.M)
    expected = [
        (path, version)
        for (_, path, version), (after, _, _) in pairwise([*lines, ("", "", "")])
        if after != "=>"
    ]
    assert sorted((module.path, module.version) for module in program.modules) == sorted(expected)
    assert told.split()[1] == f"go{program.go}"


def test_versions_are_ordered_as_dpkg_orders_them() -> None:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        pytest.skip("needs dpkg")
    rng = random.Random(4)
    words = ["1", "0", "10", "2", "a", "z", "~", "~~", "+", ".", "rc", "deb13u", "+b1", "09"]

    def version() -> str:
        upstream = "".join(rng.choices(words, k=rng.randint(1, 5)))
        epoch = rng.choice(["", "", "0:", "1:"])
        revision = rng.choice(["", f"-{''.join(rng.choices(words, k=2))}"])
        return f"{epoch}1{upstream}{revision}"

    pairs = [(version(), version()) for _ in range(300)]
    for one, other in pairs:
        difference = versions.debian(one, other)
        word = "lt" if difference < 0 else "gt" if difference else "eq"
        process.run(
            [dpkg, "--compare-versions", one, word, other], timeout=20, name=f"{one} {word} {other}"
        )


def test_the_command_writes_and_prints_documents(cache: Store, tmp_path: Path) -> None:
    binary, written = tmp_path / "k3s", tmp_path / "deep/x.spdx.json"
    binary.write_bytes(FakeK3s(ARM64).binary())

    def run(*arguments: str | Path) -> str:
        program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "sbom", "-q"]
        made = [*program, "--arch", "arm64", "--k3s", binary, *arguments]
        return process.run(made, timeout=120).decode()

    document = json.loads(run())
    assert document["bomFormat"] == "CycloneDX"
    assert str(written) in run("--format", "spdx", "-o", written)
    assert json.loads(written.read_bytes())["spdxVersion"] == "SPDX-2.3"
    (told,) = json.loads(run("--json"))["sboms"]
    assert told["document"] == document
    assert told["name"] == "gateway_0.1.0_arm64"
    assert sorted(path.name for path in written.parent.iterdir()) == ["x.spdx.json"]
