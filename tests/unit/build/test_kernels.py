"""A vendor's kernel from the recipe to the list of contents: locked, planned, checked, named."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from edgeimg.arch import ARM64, X86_64
from edgeimg.build import inputs, kernels, mirror, stages
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.cli import render
from edgeimg.compose.vendor import Vendor
from edgeimg.cve.cve import judge
from edgeimg.errors import ArchitectureError, CheckError, DigestError, LockError, RecipeError
from edgeimg.lock.file import encode_lock, write_lock
from edgeimg.lock.model import KernelPin, Lock
from edgeimg.progress import Silent
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.recipe.model import Recipe
from edgeimg.release import gates, provenance
from edgeimg.resolve.requests import digest, image_requests, verify
from edgeimg.resolve.update import changes
from edgeimg.sbom import Distribution, Kind, cyclonedx, spdx
from edgeimg.tree import Tree, file
from rich.console import Console

from tests import clean
from tests.samples import member
from tests.unit.build.test_without_k3s import lock_of
from tests.unit.compose.test_vendor_kernel import VERSION, contents, deb
from tests.unit.sbom.test_sbom import Sample

RECIPE = """\
[image]
architectures = ["arm64"]
[packages]
include = ["systemd"]
[k3s]
source = "none"
"""
DEB = '[kernel]\ndeb = "vendor/{arch}.deb"\n'
FILES = '[kernel]\nfiles = "vendor/{arch}"\n'
KEYS = {"deb": DEB, "files": FILES}
each_kind = pytest.mark.parametrize("kind", KEYS)


def project(root: Path, more: str) -> RecipeFile:
    """A project with both kinds of a kernel, and its recipe."""
    for path, data in contents().items():
        (root / "vendor/arm64" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "vendor/arm64" / path).write_bytes(data)
    members = [member(f"./{path}", data) for path, data in contents().items()]
    (root / "vendor/arm64.deb").write_bytes(deb(members))
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes/own.toml").write_text(RECIPE + more)
    return load(root / "recipes/own.toml")


def locked(source: RecipeFile) -> Lock:
    """The lock of the recipe as it is now; it is written, too."""
    lock = lock_of(source)
    pins = kernels.pins(source, source.recipe.archs, Store(source.project / "cache"))
    images = {name: replace(image, kernel=pins.get(name)) for name, image in lock.images.items()}
    lock = replace(lock, images=images)
    write_lock(lock, source.lock_path)
    return lock


def plan_of(source: RecipeFile) -> BuildPlan:
    return plan_build(source, ARM64, BuildOptions(output=source.project / "out"))


def change(root: Path, kind: str) -> Path:
    place = root / ("vendor/arm64.deb" if kind == "deb" else f"vendor/arm64/boot/config-{VERSION}")
    place.write_bytes(place.read_bytes() + b"\n")
    return place


@each_kind
def test_the_lock_has_the_digest(tmp_path: Path, kind: str) -> None:
    source = project(tmp_path, KEYS[kind])
    lock = locked(source)
    verify(source.recipe, lock)
    pin = lock.images["arm64"].kernel
    assert pin is not None
    path = "vendor/arm64.deb" if kind == "deb" else "vendor/arm64"
    assert (pin.kind, pin.path) == (kind, path)
    if kind == "deb":
        assert pin.sha256 == hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
    assert f'[image.arm64.kernel]\n{kind} = "{path}"\nsha256 = "{pin.sha256}"\n' in encode_lock(
        lock
    )
    assert "kernel" not in lock.images["arm64"].groups
    assert f"arm64 kernel: new → {path} {pin.sha256[:12]}" in changes(None, lock)


@each_kind
def test_other_bytes_are_refused_until_they_are_locked(tmp_path: Path, kind: str) -> None:
    source = project(tmp_path, KEYS[kind])
    locked(source)
    first = plan_of(source).key
    assert plan_of(source).key == first
    change(tmp_path, kind)
    with pytest.raises(
        DigestError, match=r"vendor/arm64\S* has the sha256 \S+, locked is"
    ) as caught:
        plan_of(source)
    assert caught.value.exit_code == 6
    assert caught.value.hint == "take the new one with `edgeimg lock`"
    if kind == "files":
        locked(source)
        assert plan_of(source).key != first


def test_the_other_kind_is_another_kernel(tmp_path: Path) -> None:
    lock = locked(project(tmp_path, DEB))
    source = project(tmp_path, FILES)
    with pytest.raises(LockError, match="the kernel is vendor/arm64 now, another one is locked"):
        verify(source.recipe, lock)
    plain = project(tmp_path, "")
    with pytest.raises(LockError, match="the kernel is the package now, another one is locked"):
        verify(plain.recipe, lock)
    assert "kernel" in image_requests(plain.recipe, ARM64)
    assert "kernel" not in image_requests(source.recipe, ARM64)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('[kernel]\ndeb = "vendor/none.deb"\n', "kernel.deb: there is no file .*vendor/none.deb"),
        ('[kernel]\ndeb = "vendor"\n', "kernel.deb: there is no file .*vendor"),
        ('[kernel]\nfiles = "vendor/arm64.deb"\n', "kernel.files: there is no directory .*deb"),
    ],
)
def test_a_missing_kernel_is_named(tmp_path: Path, more: str, says: str) -> None:
    source = project(tmp_path, more)
    with pytest.raises(RecipeError, match=says):
        kernels.pins(source, [ARM64], Store(tmp_path / "cache"))


@pytest.mark.parametrize(
    "more", ['deb = "a"\nfiles = "b"', 'package = "a1"\ndeb = "b"', 'package = "a1"\nfiles = "b"']
)
def test_one_kernel_is_enough(tmp_path: Path, more: str) -> None:
    with pytest.raises(RecipeError, match="name a kernel each: leave out all but one"):
        project(tmp_path, f"[kernel]\n{more}\n")


def test_recipes_without_one_have_the_digests_that_they_had() -> None:
    """Equal to those of a recipe that does not know the keys."""
    recipe = Recipe.model_validate({"arch": {"arm": {"kernel": {"modules": ["tun"]}}}})
    drop: Any = {
        "release": True, "check": True, "board": True, "rollout": True, "trust": True,
        "k3s": {"path", "hardening"}, "kernel": {"deb", "files"},
        "arch": {"arm": {"kernel": {"deb", "files"}}},
    }  # fmt: skip
    text = recipe.model_dump_json(exclude=drop)
    assert recipe.digest() == hashlib.sha256(text.encode()).hexdigest()
    assert recipe.digest() != Recipe.model_validate({"kernel": {"deb": "x"}}).digest()
    assert digest(Recipe()) != digest(Recipe.model_validate({"kernel": {"deb": "x"}}))


def test_a_kernel_is_of_one_architecture(tmp_path: Path) -> None:
    both = RECIPE.replace('["arm64"]', '["arm64", "arm"]')
    own = '[arch.arm64.kernel]\ndeb = "vendor/arm64.deb"\n'
    project(tmp_path, "")
    path, store = tmp_path / "recipes/own.toml", Store(tmp_path / "cache")
    path.write_text(both + own)
    source = load(path)
    assert list(kernels.pins(source, source.recipe.archs, store)) == ["arm64"]
    lock = locked(source)
    assert ["kernel" in lock.images[name].groups for name in ("arm64", "arm")] == [False, True]
    path.write_text(both + own.replace("arch.arm64.", ""))
    source = load(path)
    says = "vmlinuz-.* is for arm64, the image is for arm$"
    with pytest.raises(ArchitectureError, match=says) as caught:
        kernels.pins(source, source.recipe.archs, store)
    assert caught.value.exit_code == 8
    assert "[arch.arm64.kernel]" in (caught.value.hint or "")


def test_device_trees_are_among_the_boards_files(tmp_path: Path) -> None:
    board = '[board]\nname = "mine"\narch = "arm64"\n'
    source = project(tmp_path, FILES + board)
    locked(source)
    files = inputs.board_files(plan_of(source), Store(tmp_path / "cache"), Silent())
    assert files.read(f"usr/lib/linux-image-{VERSION}/board.dtb") == b"tree"


def test_a_board_of_the_command_line_with_a_kernel_has_its_own_lock(tmp_path: Path) -> None:
    board = '[board]\nname = "mine"\narch = "arm64"\n'
    project(tmp_path, DEB)
    (tmp_path / "mine.toml").write_text(board)
    shared = load(tmp_path / "recipes/own.toml", str(tmp_path / "mine.toml"))
    assert shared.lock_path.name == "own.lock.toml"
    (tmp_path / "recipes/own.toml").write_text(RECIPE)
    for kernel in (DEB, FILES.replace("[kernel]", "[arch.arm64.kernel]")):
        (tmp_path / "mine.toml").write_text(board + kernel)
        own = load(tmp_path / "recipes/own.toml", str(tmp_path / "mine.toml"))
        assert own.lock_path.name == "own.mine.lock.toml"


def test_a_lock_without_a_kernel_is_one_line(tmp_path: Path) -> None:
    source = project(tmp_path, "")
    lock = locked(source)
    groups = {name: rows for name, rows in lock.images["arm64"].groups.items() if name != "kernel"}
    image = replace(lock.images["arm64"], groups=groups)
    write_lock(replace(lock, images={"arm64": image}), source.lock_path)
    with pytest.raises(LockError, match="the lock has no kernel for arm64"):
        kernels.read(plan_of(source), Store(tmp_path / "cache"), Silent())


# --- the check ------------------------------------------------------------------------------------

VENDOR = Vendor(path="vendor/x.deb", name="linux-image-lts", version="6.6.52-1", supplier="V <v@x>")


def composed(vendor: Vendor | None, accept: tuple[str, ...] = (), **options: str) -> Any:
    kernel = replace(clean.kernel(**options), vendor=vendor)
    recipe = Recipe.model_validate({"check": {"accept": accept}})
    return cast(
        Any,
        SimpleNamespace(
            root=clean.root(X86_64),
            plan=SimpleNamespace(arch=X86_64, recipe=recipe),
            inputs=SimpleNamespace(kernel=kernel),
        ),
    )


@pytest.mark.parametrize(
    ("option", "fix"),
    [
        ("EFI_STUB", "=y"),
        ("EROFS_FS", "=y or =m"),
        ("DM_VERITY", "=y or =m"),
        ("OVERLAY_FS", "=y or =m"),
    ],
)
def test_a_kernel_that_lacks_an_option_stops_the_build(option: str, fix: str) -> None:
    stages.check_programs(composed(VENDOR))
    stages.check_programs(composed(None, **{option: "n"}))  # Debian's is judged by `check`
    says = rf"CONFIG_{option} is not set; .* \(build vendor/x.deb with CONFIG_{option}{fix}\)$"
    with pytest.raises(CheckError, match=says) as caught:
        stages.check_programs(composed(VENDOR, **{option: "n"}))
    assert caught.value.exit_code == 11
    stages.check_programs(composed(VENDOR, (f"kernel-option:CONFIG_{option}",), **{option: "n"}))


def test_a_kernel_without_its_configuration_stops_the_build() -> None:
    bare = composed(VENDOR)
    bare.inputs.kernel = replace(bare.inputs.kernel, config=b"")
    with pytest.raises(CheckError, match=f"comes without its .*boot/config-{clean.VERSION}"):
        stages.check_programs(bare)


# --- what is inside -------------------------------------------------------------------------------


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[dict[str, bytes]], Sample]:
    def with_kernel(files: dict[str, bytes]) -> Sample:
        made = Sample(tmp_path)
        made.groups.pop("kernel")
        nodes = {path: file(data) for path, data in files.items()}
        made.kernel = replace(
            made.kernel, vendor=VENDOR, sha256="ab" * 32, package=Tree().with_nodes(nodes)
        )
        return made

    return with_kernel


def test_the_bill_of_materials_names_it_and_not_debian(
    sample: Callable[[dict[str, bytes]], Sample],
) -> None:
    described = sample({}).describe()
    (kernel,) = [one for one in described.components if one.kind is Kind.KERNEL]
    assert (kernel.name, kernel.version) == ("linux-image-lts", "6.6.52-1")
    assert kernel.purl == "pkg:generic/linux-image-lts@6.6.52-1?arch=x86-64"
    assert kernel.sha256 == "ab" * 32
    assert kernel.licences == ("GPL-2.0-only",)
    assert kernel.note.endswith("of vendor/x.deb; not Debian's")
    assert kernel.ref in described.relations["image"]
    assert b"not Debian's" in spdx(described)


def test_its_own_licence_counts(sample: Callable[[dict[str, bytes]], Sample]) -> None:
    text = (
        b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
        b"Files: *\nLicense: Expat\n"
    )
    described = sample({"usr/share/doc/linux-image-lts/copyright": text}).describe()
    (kernel,) = [one for one in described.components if one.kind is Kind.KERNEL]
    assert kernel.licences == ("MIT",)


def test_it_is_not_looked_up_and_that_is_said(
    sample: Callable[[dict[str, bytes]], Sample], tmp_path: Path
) -> None:
    feed = tmp_path / "tracker.json"
    open_in = {"status": "open", "repositories": {"trixie": "6.1"}}
    flaw = {"CVE-2026-1": {"releases": {"trixie": open_in}}}
    feed.write_text(json.dumps({"linux": flaw, "linux-image-lts": flaw}))
    judged = judge(cyclonedx(sample({}).describe()), [feed])
    assert judged.kernels == ("linux-image-lts 6.6.52-1",)
    assert judged.to_json()["kernels_not_compared"] == ["linux-image-lts 6.6.52-1"]
    out = io.StringIO()
    render.vulnerabilities(Console(file=out, width=300), [judged])
    assert "not looked up: linux-image-lts 6.6.52-1, a vendor's kernel" in out.getvalue()
    usual = judge(cyclonedx(Sample(tmp_path).describe()), [feed])
    assert usual.kernels == ()
    assert [len(one.vulnerabilities) for one in (judged, usual)] == [0, 1]


@each_kind
def test_releases_and_mirrors_know_it(tmp_path: Path, kind: str) -> None:
    source = project(tmp_path, KEYS[kind])
    lock = locked(source)
    pin = cast(KernelPin, lock.images["arm64"].kernel)
    plan = plan_of(source)
    origin = provenance.Origin(
        recipe="own.toml", recipes={}, lock_sha256="b" * 64, k3s={}, tools=(), overrides=(),
        distribution=Distribution(), builder_version="1", builder_digest="d" * 64,
    )  # fmt: skip
    made = json.loads(provenance.statement({}, [plan], origin))
    rows = made["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {"name": pin.path, "digest": {"sha256": pin.sha256}} in rows
    assert mirror.kernels_of_project(lock) == [f"{pin.path} sha256:{pin.sha256}"]
    assert pin.path in plan.paths  # a kernel that is in no commit holds a release back
    holds = gates.of_inputs([plan], [], tmp_path)
    assert [hold.gate for hold in holds] == ["dirty-overlay"]


def test_a_mirror_says_that_it_has_no_kernel_of_the_project(tmp_path: Path) -> None:
    source = project(tmp_path, DEB)
    image = replace(locked(source).images["arm64"], groups={}, k3s=None)
    lock = replace(lock_of(source), images={"arm64": image}, tools={})
    write_lock(lock, source.lock_path)
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "mirror", "mirror"]
    done = subprocess.run(
        [*program, "-r", "recipes/own.toml", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "EDGEIMG_CACHE": str(tmp_path / "cache"), "COLUMNS": "300"},
    )  # fmt: skip
    assert image.kernel is not None
    kept = f"vendor/arm64.deb sha256:{image.kernel.sha256}"
    assert json.loads(done.stdout)["kernels_not_kept"] == [kept]
    assert f"not kept, because the project has it: {kept}" in done.stderr
