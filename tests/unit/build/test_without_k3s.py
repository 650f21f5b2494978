"""Images without K3s: what a recipe may say beside it, what is left of the overlays, the guest."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from edgeimg import builtin
from edgeimg.arch import ARM64, X86_64
from edgeimg.build import overlays, stages
from edgeimg.build.inputs import Inputs
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.check import accept, kernel
from edgeimg.check.containers import Absent
from edgeimg.compose import kernel_deb, presets
from edgeimg.compose.firmware import Selection
from edgeimg.errors import LockError, ProvisionError, RecipeError
from edgeimg.image.manifest import Contents, ProvisionFacts
from edgeimg.lock.file import encode_lock
from edgeimg.lock.model import ArchLock, Lock, Package
from edgeimg.progress import Silent
from edgeimg.provision.consents import require_parts
from edgeimg.provision.settings import Settings
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.report.verdict import verdict
from edgeimg.resolve import builtin_parts
from edgeimg.resolve.requests import digest, image_requests, verify
from edgeimg.smoke.boots import _boot
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.verdict import SETTLED, Boot, Check, Stage, compare, judge
from edgeimg.sources import k3s_release
from edgeimg.tree import Tree, file, union
from edgeimg.vm.channel import Channel
from edgeimg.vm.machine import Guest

from tests.gateway_root import Root
from tests.release_facts import image, manifest, release, smoke
from tests.samples import make_deb
from tests.unit.sbom.test_sbom import Sample
from tests.unit.smoke.test_smoke_samples import Talker

BASE = builtin.directory("overlays/base")
PART = builtin.directory("overlays/no-k3s")
NONE = '[k3s]\nsource = "none"\n'
GATEWAY = 'include = ["edgeimg:gateway"]\n'
PINNED = "0" * 64


def project(directory: Path, text: str, **files: str) -> RecipeFile:
    (directory / "recipes").mkdir(exist_ok=True)
    for name, content in {"own": text, **files}.items():
        (directory / f"recipes/{name}.toml").write_text(content)
    return load(directory / "recipes/own.toml")


# --- the recipe ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('airgap = ["coredns"]', "leave out airgap"),
        ("config = { debug = true }", "leave out config"),
        ('role = "agent"\nlabels = { site = "x" }', "leave out role, labels"),
        ('taints = ["a=b:NoSchedule"]', "leave out taints"),
        ('disabled_kinds = "warn"', "leave out disabled_kinds"),
        ('registries = { "*" = { endpoints = ["https://r.example"] } }', "leave out registries"),
        (f'sha256 = {{ arm = "{PINNED}" }}', "leave out sha256"),
        ('version = "v1.36.0+k3s1"', "leave out version"),
        ('path = "k3s"', "leave out path"),
        ('[workloads.web]\nmanifests = "web"', r"leave out workloads\.web"),
        ('[provision]\nallow = ["script", "k3s.*"]', r"leave out k3s\.\* of provision\.allow"),
        ('[arch.arm.k3s]\nlabels = { site = "x" }', "leave out labels"),
    ],
)
def test_what_needs_k3s_is_refused(tmp_path: Path, more: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        project(tmp_path, NONE + more)
    assert len(caught.value.message.splitlines()) == 2
    project(tmp_path, (NONE + more).replace('"none"', '"release"'))  # it is well with K3s


def test_what_does_not_need_it_is_not(tmp_path: Path) -> None:
    text = NONE + '[provision]\nallow = ["script"]\n[services.web]\nbinary = "web"\n'
    assert project(tmp_path, text).recipe.k3s.is_absent


def test_included_recipes_have_no_say_on_k3s(tmp_path: Path) -> None:
    source = project(tmp_path, GATEWAY + NONE)
    assert source.recipe.k3s == type(source.recipe.k3s)(source="none")
    assert source.recipe.services.keys() == {"ssh", "health"}
    again = project(
        tmp_path, 'include = ["plain.toml"]\n[k3s]\nsource = "release"\n', plain=GATEWAY + NONE
    )
    assert not again.recipe.k3s.is_absent


def test_one_architecture_may_be_without_it(tmp_path: Path) -> None:
    source = project(tmp_path, GATEWAY + '[arch.arm64.k3s]\nsource = "none"\n')
    assert source.recipe.for_arch(ARM64).k3s.is_absent
    assert source.recipe.for_arch(X86_64).k3s.config


def test_an_error_beside_it_has_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"own\.toml:4: k3s\.labels"):
        project(tmp_path, GATEWAY + NONE + 'labels = { "kubernetes.io/x" = "y" }')


# --- the lock ------------------------------------------------------------------------------------


def package(name: str, sha256: str = PINNED) -> Package:
    return Package(
        name=name, version="1.0", arch="all", archive="debian", path=f"pool/{name}.deb", size=1,
        sha256=sha256,
    )  # fmt: skip


def lock_of(source: RecipeFile) -> Lock:
    """A lock with what the recipe asks for by name."""
    images = {
        arch.name: ArchLock(
            groups={
                group: tuple(
                    package(name, name.encode().hex().ljust(64, "0"))
                    for name in sorted(request.names)
                )
                for group, request in image_requests(source.recipe.for_arch(arch), arch).items()
            },
            k3s=k3s_release.resolve(
                source.recipe.for_arch(arch), arch, previous=None, progress=Silent(), env={}
            ),
        )
        for arch in source.recipe.archs
    }  # fmt: skip
    return Lock(
        recipe_digest=digest(source.recipe),
        suite="trixie",
        images=images,
        builtin=builtin_parts.parts_of(source),
    )


def test_the_lock_has_no_row_of_k3s_and_no_images_for_pods(tmp_path: Path) -> None:
    source = project(tmp_path, GATEWAY + NONE)
    lock = lock_of(source)
    verify(source.recipe, lock)
    text = encode_lock(lock)
    assert not re.search("k3s(?!/)|catatonit.*\ncontainers", text.replace("overlays/no-k3s", ""))
    assert {image.k3s for image in lock.images.values()} == {None}
    assert {"containers"} & set.union(
        *(set(image.groups) for image in lock.images.values())
    ) == set()
    assert "edgeimg:overlays/no-k3s" in (lock.builtin.parts if lock.builtin else {})


def test_a_locked_k3s_of_the_same_version_is_forgotten(tmp_path: Path) -> None:
    asset = k3s_release.K3sAsset(
        version="v1.35.0+k3s1", url="https://x.example", size=1, sha256=PINNED
    )

    def resolved(text: str) -> object:
        recipe = project(tmp_path, text).recipe.for_arch(X86_64)
        return k3s_release.resolve(
            recipe, X86_64, previous=asset, progress=Silent(), env={"EDGEIMG_K3S_URL": "http://127.0.0.1:9"}
        )  # fmt: skip

    assert resolved(NONE) is None
    assert resolved(NONE.replace("none", "standin")) is not None


def test_a_lock_with_k3s_does_not_fit(tmp_path: Path) -> None:
    lock = lock_of(project(tmp_path, GATEWAY + '[image]\narchitectures = ["x86-64"]\n'))
    source = project(tmp_path, GATEWAY + NONE + '[image]\narchitectures = ["x86-64"]\n')
    with pytest.raises(LockError, match="the recipe is without K3s now"):
        verify(source.recipe, lock)


# --- the root ------------------------------------------------------------------------------------


def files_of(source: RecipeFile) -> Tree:
    return overlays.read(source, source.recipe.for_arch(X86_64))


def test_units_of_k3s_are_neither_there_nor_named(tmp_path: Path) -> None:
    usual, plain = files_of(project(tmp_path, GATEWAY)), files_of(project(tmp_path, GATEWAY + NONE))
    gone = {path for path, _ in usual.items()} - {path for path, _ in plain.items()}
    units = {path.rpartition("/")[2] for path in gone if path.endswith((".service", ".timer"))}
    assert {"k3s.service", "containerd.service", "edgeimg-images.service"} <= units
    # Fails for a unit that a preset names and nobody brings.
    enabled = {path for path, _ in presets.apply_presets(_with_debian(plain)).items()}
    assert "etc/systemd/system/multi-user.target.wants/edgeimg-banner.service" in enabled
    for path, node in plain.under("usr/lib/systemd"):
        if node.target or not node.size:
            continue
        lines = [line for line in node.read().decode().splitlines() if line[:1] != "#"]
        named = {unit for unit in units for line in lines if unit in re.split(r"[\s=]", line)}
        assert named == set(), path
    healthy = plain.read("usr/lib/systemd/system/edgeimg-healthy.service").decode()
    assert "After=" not in healthy
    assert "Before=boot-complete.target\n" in healthy
    memory = plain.read("usr/lib/systemd/system/edgeimg-memory.service").decode()
    assert "Before=swap.target shutdown.target\n" in memory


def _with_debian(files: Tree) -> Tree:
    """The units of packages that the presets of `base` name."""
    unit = file(b"[Install]\nWantedBy=multi-user.target\n")
    presets_of_base = (BASE / "usr/lib/systemd/system-preset/10-edgeimg.preset").read_text()
    names = re.findall(r"^enable (systemd-\S+)", presets_of_base, re.M)
    assert len(names) == 5
    return files.with_nodes({f"usr/lib/systemd/system/{name}": unit for name in names})


def test_files_that_the_project_puts_there_stay(tmp_path: Path) -> None:
    own = tmp_path / "mine/usr/lib/systemd/system"
    own.mkdir(parents=True)
    (own / "containerd.service").write_text(
        "[Service]\nExecStart=/usr/bin/mine\nAfter=k3s.service\n"
    )
    works = tmp_path / "mine/usr/lib/edgeimg/works"
    works.parent.mkdir(parents=True)
    works.write_text("mine")
    found = files_of(project(tmp_path, GATEWAY + NONE + '[overlay]\npaths = ["mine"]\n'))
    assert b"After=k3s" in found.read("usr/lib/systemd/system/containerd.service")
    assert found.read("usr/lib/edgeimg/works") == b"mine"
    assert b"unready" in files_of(project(tmp_path, GATEWAY + NONE)).read("usr/lib/edgeimg/works")


def test_the_part_has_the_lines_of_the_base_that_are_not_about_k3s() -> None:
    for name in (
        "usr/lib/tmpfiles.d/edgeimg.conf",
        "usr/lib/systemd/system/edgeimg-resolv.service",
    ):
        mine, base = (set((root / name).read_text().splitlines()) for root in (PART, BASE))
        assert all(
            re.match("#|Description", line) or re.search("rancher|containerd|online", line)
            for line in base - mine
        )
        assert all(re.match("#|Description", line) for line in mine - base)


def test_images_with_k3s_have_nothing_of_the_part(tmp_path: Path) -> None:
    usual = files_of(project(tmp_path, GATEWAY))
    assert {node.origin for _, node in usual.items()} == {"edgeimg", "overlay:base"}
    assert (
        usual.read("usr/lib/edgeimg/facts.sh") == (BASE / "usr/lib/edgeimg/facts.sh").read_bytes()
    )
    parts = builtin_parts.parts_of(project(tmp_path, GATEWAY))
    assert parts is not None
    assert "edgeimg:overlays/no-k3s" not in parts.parts


SMALL = """\
[image]
architectures = ["x86-64"]
[packages]
include = ["systemd"]
[kernel]
package = "linux-image-6.12.1-test"
[overlay]
paths = ["edgeimg:overlays/base"]
[check]
accept = ["no-pie:usr/lib/edgeimg/images/x/rootfs/bin/busybox", "setuid:usr/bin/none"]
"""
UNAME = "6.12.1-test"


@pytest.fixture
def composed(tmp_path: Path) -> Callable[[str], stages.Composed]:
    """The root of a recipe whose one package brings the units that presets name."""

    def compose(text: str) -> stages.Composed:
        source = project(tmp_path, SMALL + text)
        lock = lock_of(source)
        (tmp_path / "recipes/own.lock.toml").write_text(encode_lock(lock))
        plan = plan_build(source, X86_64, BuildOptions(output=tmp_path / "out"))
        units = {path: node.read() for path, node in _with_debian(Tree()).items() if node.size}
        systemd = make_deb(tmp_path, {**units, "usr/bin/systemctl": b"x"}, name="systemd")
        linux = make_deb(
            tmp_path,
            {
                f"boot/vmlinuz-{UNAME}": b"k",
                f"boot/config-{UNAME}": b"CONFIG_VXLAN=m\n",
                f"usr/lib/modules/{UNAME}/modules.builtin": b"",
                f"usr/lib/modules/{UNAME}/modules.order": b"",
            },
            name=f"linux-image-{UNAME}",
        )
        inputs = Inputs(
            groups={
                "root": ((package("systemd"), systemd),),
                "kernel": ((package("linux"), linux),),
            },
            kernel=kernel_deb.from_deb(linux), initrd=Tree(), boot=Tree(), loader=None,
            images=Tree(), services=Tree(), firmware=Selection(files=Tree(), missing={}),
            microcode=Tree(), workloads=Tree(), absent=Absent(),
        )  # fmt: skip
        return stages.compose(plan, inputs, None, Store(tmp_path / "cache"))

    return compose


def test_a_small_recipe_is_composed_without_k3s(composed: Callable[[str], stages.Composed]) -> None:
    done = composed(NONE)
    assert done.contents.k3s is None
    assert not [
        p for p, _ in done.root.items() if re.search("k3s(?!.awk)|rancher|containerd|pause", p)
    ]
    written = json.loads(done.root.read("usr/share/edgeimg/manifest.json"))
    assert written["k3s"] is None
    assert Contents.from_json(done.root.read("usr/share/edgeimg/manifest.json")).k3s is None
    assert {"overlay:no-k3s", "overlay:base"} <= done.contents.components.keys()
    assert done.plan.k3s_identity == "none"


def test_checks_ask_nothing_for_k3s(composed: Callable[[str], stages.Composed]) -> None:
    done = composed(NONE)
    report = stages.check(done, {})
    unused = [item.item for item in report.findings if item.rule == "unused-accept"]
    assert unused == ["setuid:usr/bin/none"]
    asked = {need.option for need in kernel.needs(done.plan.recipe)}
    with_k3s = {need.option for need in kernel.needs(project(done.plan.project, SMALL).recipe)}
    assert "BRIDGE_NETFILTER" in with_k3s - asked
    assert "OVERLAY_FS" in asked
    assert accept.unused([], ["no-pie:usr/lib/edgeimg/images/x"])  # reported where images are


def test_no_k3s_can_be_chosen_for_it(tmp_path: Path) -> None:
    source = project(tmp_path, SMALL + NONE)
    (tmp_path / "recipes/own.lock.toml").write_text(encode_lock(lock_of(source)))

    def plan(choice: K3sChoice | None) -> BuildPlan:
        return plan_build(source, X86_64, BuildOptions(output=tmp_path, k3s=choice))

    assert plan(None).recipe.k3s.is_absent
    with pytest.raises(RecipeError, match="the image has no K3s") as caught:
        plan(K3sChoice(source="release"))
    assert "leave out --k3s" in str(caught.value.hint)


def test_the_bill_of_materials_has_no_k3s(tmp_path: Path) -> None:
    sample = Sample(tmp_path)
    assert [c.name for c in sample.describe().components if c.ref == "k3s"] == ["k3s"]
    sample.root = union([sample.root.without(lambda path, node: "k3s" in path)])
    sample.k3s = cast(Any, None)
    sample.contents = replace(sample.contents, k3s=None)
    described = sample.describe()
    assert not [c for c in described.components if "k3s" in c.ref]
    assert not described.standin
    assert [c for c in described.components if c.ref.startswith("program:usr/bin/agent")]


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"k3s": {"labels": {"site": "x"}}}, "k3s"),
        ({"registries": {"*": {"endpoints": ["https://r.example"]}}}, "registries"),
    ],
)
def test_settings_of_k3s_are_refused_at_the_desk(settings: dict[str, Any], says: str) -> None:
    given = Settings.model_validate(settings)
    for takes in (None, ProvisionFacts(), ProvisionFacts(k3s=True)):
        require_parts(takes, given, "x.raw")
    require_parts(ProvisionFacts(k3s=False), Settings(hostname="x"), "x.raw")
    with pytest.raises(
        ProvisionError, match=rf"x.raw has no K3s, and the settings have \[{says}\]"
    ):
        require_parts(ProvisionFacts(k3s=False), given, "x.raw")


# --- the guest -----------------------------------------------------------------------------------


SHELLS = [shell for shell in (["dash"], ["busybox", "sh"]) if shutil.which(shell[0])]


def guest(tmp_path: Path) -> Path:
    """The scripts of a gateway without K3s."""
    source = project(tmp_path, GATEWAY + NONE)
    files_of(source).extract(tmp_path / "root")
    return tmp_path / "root/usr/lib/edgeimg"


def program(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "bin").mkdir(exist_ok=True)
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(shell: list[str], script: Path | str, tmp_path: Path, **env: str) -> str:
    argv = [*shell, str(script)] if isinstance(script, Path) else [*shell, "-c", script]
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        argv, env={"PATH": path, **env}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_what_a_gateway_says_of_k3s(tmp_path: Path, shell: list[str]) -> None:
    facts = guest(tmp_path) / "facts.sh"
    text = f'. {facts}; echo "$(kubernetes "$(node_state)"); $(k3s_version)"'
    text += "; waits_for_provisioning || echo no"
    assert run(shell, text, tmp_path, root=str(tmp_path)) == "none; not in this image\nno\n"


HEADER = "NAME STATE HEALTH AT BOOT RESTARTS MEMORY"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([HEADER], ""),
        ([HEADER, "ssh active ok on 0", "health active - on 0"], ""),
        ([HEADER, "ssh inactive - off 0"], ""),
        ([HEADER, "ssh activating - on 4", "web active failing on 0"], "not well: ssh web\n"),
        ([HEADER, "ssh inactive - on 0"], "not well: ssh\n"),
        ([], "not well: edgeimg-service\n"),
    ],
)
def test_what_keeps_a_version_from_being_good(
    tmp_path: Path, shell: list[str], rows: list[str], says: str
) -> None:
    program(tmp_path, "edgeimg-service", "\n".join(f"echo '{row}'" for row in rows) or ":")
    assert run(shell, PART / "usr/lib/edgeimg/unready", tmp_path) == says


def test_a_version_works_once_its_services_do(tmp_path: Path) -> None:
    program(tmp_path, "sleep", f"echo waited >> {tmp_path}/log")
    program(
        tmp_path, "edgeimg-service",
        f"echo '{HEADER}'; state=active\n"
        f"[ $(wc -l < {tmp_path}/log) -ge 2 ] || state=activating\n"
        'echo "ssh $state ok on"',
    )  # fmt: skip
    (tmp_path / "log").touch()
    run(["sh"], PART / "usr/lib/edgeimg/works", tmp_path)
    assert (tmp_path / "log").read_text() == "waited\nwaited\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("state", "failed", "status", "problem"),
    [
        ("active", "", 200, ""),
        ("inactive", "", 200, ""),
        ("activating", "", 503, "ssh is activating. "),
        ("failed", "container-ssh.service loaded failed", 503, "failed: container-ssh.service "),
    ],
)
def test_the_health_endpoint(
    tmp_path: Path, shell: list[str], state: str, failed: str, status: int, problem: str
) -> None:
    services = tmp_path / "services"
    for name in ("ssh/config.json", "shared/other"):
        (services / name).parent.mkdir(parents=True)
        (services / name).touch()
    program(
        tmp_path,
        "systemctl",
        f"case $1 in is-active) echo {state} ;; *) printf '%s' '{failed}' ;; esac",
    )
    output = tmp_path / "healthz"
    run(shell, PART / "usr/lib/edgeimg/healthz", tmp_path, EDGEIMG_HEALTHZ=str(output),
        EDGEIMG_SERVICES=str(services))  # fmt: skip
    head, body = output.read_text().splitlines()
    assert head.split()[0] == str(status)
    assert json.loads(body) == {"healthy": status == 200, "problem": problem}


@pytest.mark.parametrize("name", ["k3s.yaml", "registries.conf"])
def test_a_gateway_refuses_files_for_k3s(tmp_path: Path, name: str) -> None:
    content = {
        "k3s.yaml": "role: server\n",
        "registries.conf": "[*]\nendpoint=https://r.example\n",
    }[name]
    for part, refusal in ((False, ""), (True, "this image has no K3s")):
        root = Root(tmp_path / str(part))
        if part:
            shutil.copytree(
                PART / "usr/lib/edgeimg", root.path / "usr/lib/edgeimg", dirs_exist_ok=True
            )
        root.put({f"edgeimg/{name}": content.encode()})
        said = root.start()
        assert (refusal in said) if part else (said == "")


# --- smoke ---------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "event": "report", "boot_id": "one", "machine_id_sha256": "m", "image_version": "0.1.0",
    "role": "server", "failed_units": [], "failed_logs": [], "system_state": "running",
    "containerd": "inactive", "k3s": "inactive", "k3s_image": None, "uptime": 31.0,
    "services": [{"name": "ssh", "state": "active", "health": "ok", "at_boot": True}],
    "memory_kib": {"total": 480000, "available": 190000, "used": 290000},
}  # fmt: skip
STAGES = tuple(Stage(name=name, uptime=1.0, elapsed=2.0) for name in ("userland", SETTLED))


def failures(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if check.failure]


def test_a_guest_without_k3s_passes_where_none_is_expected() -> None:
    boot = Boot(stages=STAGES, report=GOOD)
    assert failures(judge(boot, k3s=False)) == []
    assert "containerd runs" in failures(judge(boot))
    assert failures(compare(GOOD, {**GOOD, "boot_id": "two"}, k3s=False)) == []
    assert failures(compare(GOOD, GOOD, k3s=False)) == ["it did restart"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"system_state": "degraded"}, "the system runs"),
        ({"failed_units": ["x.service"]}, "no failed unit"),
        ({"k3s_image": {"version": "v1"}}, "the image has no K3s"),
        ({"memory_kib": {"available": 1}}, "memory is enough"),
        ({"services": [{"name": "ssh", "state": "failed", "at_boot": True}]}, "service ssh runs"),
        (
            {"services": [{"name": "health", "state": "active", "health": "failing"}]},
            "service health runs",
        ),
    ],
)
def test_one_wrong_fact_fails_its_check(changes: dict[str, Any], name: str) -> None:
    assert failures(judge(Boot(stages=STAGES, report={**GOOD, **changes}), k3s=False)) == [name]
    early = Boot(stages=STAGES[:1], report=GOOD)
    assert failures(judge(early, k3s=False)) == ["all stages reached"]


def test_the_host_asks_until_the_guest_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = {**GOOD, "services": [{**GOOD["services"][0], "state": "activating"}]}
    answers = [{**GOOD, "system_state": "starting"}, busy, GOOD]
    monkeypatch.setattr("edgeimg.smoke.boots._PLAIN_SECONDS", 0.01)
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "port"))
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            with peer, peer.makefile("rwb", buffering=0) as stream:
                stream.write(b'{"event":"stage","name":"userland","uptime":9.0}\n')
                for answer in answers:
                    asked.append(stream.readline().decode().strip())
                    stream.write(json.dumps(answer).encode() + b"\n")
                stream.read(1)

        threading.Thread(target=serve, daemon=True).start()
        channel = Channel(tmp_path / "port")
        try:
            found = _boot(
                cast(Guest, Talker(channel)), 20, lambda _: None, lambda _: None, k3s=False
            )
        finally:
            channel.close()
    assert asked == ["report"] * 3
    assert found.problem == ""
    assert [(stage.name, stage.uptime) for stage in found.stages] == [
        ("userland", 9.0),
        (SETTLED, 31.0),
    ]
    assert failures(judge(found, k3s=False)) == []


def test_the_page_of_a_release_without_k3s() -> None:
    boot = {
        "stages": [{"name": s.name, "uptime": 9.0, "elapsed": 10.0} for s in STAGES],
        "samples": [], "report": GOOD, "problem": "",
    }  # fmt: skip
    guest_report = smoke("x86-64", boots=[boot, boot])
    assert SmokeReport.from_json(guest_report).k3s_version == "none"
    plain = image(manifest=manifest("x86-64", k3s=None), smoke=guest_report)
    found = verdict(release(plain))
    assert found.headline == "x86-64 boots and runs its services."
    (card,) = found.cards
    assert not {"Node", "Pod"} & {name for name, _ in card.facts}
    assert ("First boot", "services run after 10\u00a0s") in card.facts
    mixed = verdict(release(plain, image("arm64"))).headline
    assert (
        mixed == "arm64 boots, runs K3s and answers from a pod; x86-64 boots and runs its services."
    )
