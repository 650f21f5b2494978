"""The default recipe's real roots: clean, and every planted defect is found in them.

The judges are other programs where there are some: systemd-analyze of the image's own package,
openssl and ssh-keygen of this host.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from edgeimg import process, tools
from edgeimg.arch import ARCHITECTURES, X86_64, Arch
from edgeimg.build import debian_packages, inputs, plan, stages
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import BuildPlan
from edgeimg.build.stages import Composed
from edgeimg.cache.store import Store
from edgeimg.check import secrets, units
from edgeimg.check.findings import Finding
from edgeimg.check.unit_files import services
from edgeimg.progress import Silent
from edgeimg.recipe.file import load
from edgeimg.recipe.image_name import short_name
from edgeimg.services.layout import rootfs
from edgeimg.tree import Node, Tree, file
from edgeimg.tree import replace as changed
from edgeimg.workloads import images

from tests import keys, planted
from tests.samples import elf
from tests.standin import compiled

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]
each_arch = pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
Made = Callable[[Arch], tuple[BuildPlan, Composed]]


@pytest.fixture(scope="module")
def made(cache: Store, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The composed default image; the test is skipped where the stand-in is not compiled."""
    return _cached(cache, tmp_path_factory.mktemp("k3s"))


def _cached(store: Store, directory: Path) -> Made:
    @cache
    def compose(arch: Arch) -> tuple[BuildPlan, Composed]:
        source = load(PROJECT / "recipes/gateway.toml")
        options = BuildOptions(output=directory, k3s=K3sChoice(source="standin"))
        planned = plan.plan_build(source, arch, options)
        debian_packages.fetch_packages(
            planned.inputs.packages(), store, offline=False, progress=Silent()
        )
        k3s = inputs.k3s.unpack(compiled(arch, store), arch, store, source="standin")
        unpacked = inputs.unpack(planned, {}, store, Silent())
        return planned, stages.compose(planned, unpacked, k3s, store)

    return compose


def look(planned: BuildPlan, composed: Composed, root: Tree | None = None) -> list[Finding]:
    changed = replace(composed, plan=planned, root=composed.root if root is None else root)
    return list(stages.check(changed, {}).findings)


@each_arch
def test_the_default_image_is_clean(made: Made, arch: Arch) -> None:
    assert [str(finding) for finding in look(*made(arch))] == []


@each_arch
def test_what_the_exceptions_are_for_is_there(made: Made, arch: Arch) -> None:
    """The checks are on: without the recipe's exceptions its findings are told."""
    planned, composed = made(arch)
    recipe = planned.recipe
    bare = recipe.model_copy(update={"check": recipe.check.model_copy(update={"accept": ()})})
    places = {finding.place for finding in look(replace(planned, recipe=bare), composed)}
    busyboxes = {f"{rootfs(name)}/usr/bin/busybox" for name in ("health", "ssh")}
    listed = images.read_listing(composed.root)
    inside = {"hello": "bin/busybox", "pause": "catatonit"}
    pods = {f"{place}/{inside[short_name(reference)]}" for reference, (_, place) in listed.items()}
    assert places == {"usr/bin/mount", "usr/bin/umount", "services.ssh", *busyboxes, *pods}


@each_arch
def test_planted_defects_are_found_in_the_real_root(made: Made, arch: Arch) -> None:
    """Real programs with one thing changed, and secrets in odd places: one finding each."""
    planned, composed = made(arch)
    root = composed.root
    program = root["usr/sbin/nft"]
    shadow = f"a:{keys.sha512crypt()}:::::::\n"
    files = {
        "usr/bin/stack": _with_segment(program, arch, 0x6474E551, flags=7),
        "usr/bin/relro": _with_segment(program, arch, 0x6474E552, kind=0),
        "usr/bin/fixed": changed(program, content=_patched(program.read(), 16, b"\2\0")),
        "usr/bin/su2": changed(program, mode=0o4755),
        "usr/bin/foreign": file(elf(_other(arch), interpreter=arch.loader)),
        "usr/lib/data.bin": file(b"\0" * 5_000_000 + planted.KEY + b"\0" * 100),
        "srv/backup.tar": planted.image("etc/shadow", file(shadow.encode())),
        "usr/share/edgeimg/images/own.tar": planted.image("id", file(planted.SSH_KEY)),
        "etc/world": file(b"x", mode=0o666),
        planted.SYSCTL: file(b"kernel.dmesg_restrict = 0\n"),
        planted.UNIT: file(b"[Service]\nExecStart=/usr/sbin/nft monitor\n"),
    }  # fmt: skip
    module = next(path for path, _ in root.items() if path.endswith("/nf_tables.ko"))
    changed_root = root.with_nodes(files).without(lambda path, _: path == module)
    expected = {
        ("executable-stack", "usr/bin/stack"),
        ("no-relro", "usr/bin/relro"),
        ("no-pie", "usr/bin/fixed"),
        ("setuid", "usr/bin/su2"),
        ("architecture", "usr/bin/foreign"),
        ("private-key", "usr/lib/data.bin"),
        ("password-hash", "srv/backup.tar"),
        ("private-key", "usr/share/edgeimg/images/own.tar"),
        ("world-writable", "etc/world"),
        ("sysctl", planted.SYSCTL),
        ("unit-exposure", planted.UNIT),
        ("kernel-module", module),
    }
    found = [(finding.rule, finding.path) for finding in look(planned, composed, changed_root)]
    assert sorted(found) == sorted(expected)


def _other(arch: Arch) -> Arch:
    return next(other for other in ARCHITECTURES if other is not arch)


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _with_segment(
    node: Node, arch: Arch, wanted: int, *, flags: int | None = None, kind: int | None = None
) -> Node:
    """A real program with the flags or the type of one program header changed."""
    data = node.read()
    wide = arch.elf_class == 64
    table = int.from_bytes(data[32:40] if wide else data[28:32], "little")
    size, count = (56, data[56]) if wide else (32, data[44])
    for at in range(table, table + size * count, size):
        if int.from_bytes(data[at : at + 4], "little") == wanted:
            if kind is not None:
                return changed(node, content=_patched(data, at, kind.to_bytes(4, "little")))
            assert flags is not None
            place = at + 4 if wide else at + 24
            return changed(node, content=_patched(data, place, flags.to_bytes(4, "little")))
    raise AssertionError("no such program header")


def test_our_marks_are_those_of_systemd_analyze(made: Made, tmp_path: Path) -> None:
    """Within 0.2: offline, systemd-analyze 257 takes PrivateMounts= for set in every service."""
    host = tools.build_host()
    if host is not X86_64:
        pytest.skip("the default image of this host's architecture is needed")
    root = made(host)[1].root
    root.without(lambda path, _: path.startswith(("usr/lib/modules", "usr/lib/k3s"))).extract(
        tmp_path
    )
    libraries = tmp_path / f"usr/lib/{host.triplet}"
    mine = {unit.name: units.exposure(unit) for unit in services(root) if "@" not in unit.name}
    told = process.run(
        [
            libraries / host.loader.rpartition("/")[2],
            "--library-path", f"{libraries}:{libraries}/systemd",
            "--argv0", "systemd-analyze", tmp_path / "usr/bin/systemd-analyze",
            "security", "--offline=yes", f"--root={tmp_path}", "--no-pager", *mine,
        ],
        timeout=120,
        name="systemd-analyze",
    ).decode()  # fmt: skip
    theirs = {name: float(mark) for name, mark in re.findall(r"level for (\S+): ([\d.]+)", told)}
    assert theirs.keys() == mine.keys()
    assert len(theirs) > 80
    assert min(theirs.values()) < 2
    apart = {name: (mark, mine[name]) for name, mark in theirs.items()
             if not -0.05 < mine[name] - mark < 0.25}  # fmt: skip
    assert apart == {}


@pytest.mark.parametrize(
    "argv",
    [
        ["openssl", "genpkey", "-quiet", "-algorithm", "ed25519", "-out", "key"],
        ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-out", "key"],
        ["openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-outform", "DER", "-out", "key"],
        ["openssl", "genrsa", "-traditional", "-out", "key", "1024"],
        ["openssl", "genrsa", "-aes256", "-passout", "pass:x", "-out", "key", "1024"],
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", "key"],
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-outform", "DER", "-out", "key"],
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"],
        ["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", "key"],
        ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "secret", "-f", "key"],
    ],
    ids=" ".join,
)
def test_keys_of_real_programs(argv: list[str], tmp_path: Path) -> None:
    program = shutil.which(argv[0])
    if program is None:
        pytest.skip(f"no {argv[0]} on PATH: install it to have its keys looked at")
    process.run([program, *argv[1:]], timeout=120, name=argv[0], cwd=tmp_path)
    content = (tmp_path / "key").read_bytes()
    (finding,) = secrets.check(Tree().with_nodes({"root/key": file(content)}))
    assert finding.rule == "private-key"
    public = tmp_path / "key.pub"
    if public.exists():
        assert secrets.check(Tree().with_nodes({"root/k": file(public.read_bytes())})) == []
