"""Services of a recipe → containers and units: what is granted, and that nothing else is."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64, Arch
from edgeimg.compose.presets import read_rules
from edgeimg.errors import ArchiveError, RecipeError
from edgeimg.recipe.file import load
from edgeimg.recipe.services import CAPABILITIES, Service
from edgeimg.services import compose, rootfs, seccomp, spec
from edgeimg.services.image import Image
from edgeimg.services.roots import roots
from edgeimg.services.units import units
from edgeimg.sources.deb import Deb
from edgeimg.tree import Kind, Tree, directory, file

UID = 59042
PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "syscalls": [
        {
            "names": ["mount", "read", "syslog", "write"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {},
            "args": [],
        },
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
        {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_PTRACE"]}},
        {
            "names": ["kcmp"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "excludes": {"caps": ["CAP_SYS_PTRACE"]},
        },
    ],
}
DATA = json.dumps(PROFILE).encode()


def service(**options: Any) -> Service:
    return Service.model_validate({"packages": ["busybox"], "command": ["busybox"], **options})


def config(**options: Any) -> dict[str, Any]:
    return spec.config("mine", service(**options), UID, None)


def deb(name: str, files: dict[str, bytes]) -> Deb:
    nodes = {path: file(data, mode=0o755, origin=f"package:{name}") for path, data in files.items()}
    control = {"Package": name, "Version": "1"}
    return Deb(
        control=control, control_text="", conffiles=(), md5sums="", sha256="",
        tree=Tree().with_nodes(nodes),
    )  # fmt: skip


BUSYBOX = deb("busybox", {"usr/bin/busybox": b"\x7fELF busybox"})


def root(given: Tree | None = None, **options: Any) -> Tree:
    return rootfs.make(
        "mine", service(**options), UID, arch=X86_64, packages=[BUSYBOX], image=None,
        project_files=given or Tree(), init=b"init",
    )  # fmt: skip


def test_nothing_is_granted_by_default() -> None:
    made = config()
    process = made["process"]
    assert process["user"] == {"uid": UID, "gid": UID}
    assert process["noNewPrivileges"] is True
    assert set(map(tuple, process["capabilities"].values())) == {()}
    assert made["root"]["readonly"] is True
    kinds = {namespace["type"] for namespace in made["linux"]["namespaces"]}
    assert kinds == {"mount", "ipc", "uts", "pid", "cgroup", "network"}
    binds = [mount["source"] for mount in made["mounts"] if "rbind" in mount["options"]]
    assert binds == []


def test_what_is_granted_is_there() -> None:
    made = config(
        capabilities=["net_bind_service", "CAP_SYS_TIME"],
        network="host",
        data="/data",
        devices=["/dev/ttyS1"],
        mounts=[{"source": "/run/x", "target": "/x"}],
    )
    assert made["process"]["capabilities"]["ambient"] == ["CAP_NET_BIND_SERVICE", "CAP_SYS_TIME"]
    places = {mount["destination"]: mount for mount in made["mounts"]}
    assert places["/data"]["source"] == "/var/lib/edgeimg/services/mine"
    assert "rro" not in places["/data"]["options"]
    assert "rro" in places["/x"]["options"]
    assert places["/dev/ttyS1"]["source"] == "/dev/ttyS1"
    assert places["/etc/resolv.conf"]["source"] == spec.RESOLV
    assert {"type": "network"} not in made["linux"]["namespaces"]


def test_who_shares_the_network_has_the_gateways_name() -> None:
    own, shared = config(), config(network="host")
    assert own["hostname"] == "mine"
    assert "hostname" not in shared
    assert {"type": "uts"} not in shared["linux"]["namespaces"]
    assert {"type": "uts"} in own["linux"]["namespaces"]
    assert "etc/hostname" in root()
    assert "etc/hostname" not in root(network="host")


def test_run_belongs_to_the_services_user() -> None:
    for user, number in (("own", UID), ("root", 0)):
        places = {mount["destination"]: mount for mount in config(user=user)["mounts"]}
        assert f"uid={number}" in places["/run"]["options"]


def test_a_class_of_devices_is_the_gateways_dev_behind_a_filter() -> None:
    made = service(devices=["char-ttyUSB", "/dev/ttyS1"])
    runtime: Any = spec.config("mine", made, UID, None)
    places = {mount["destination"]: mount for mount in runtime["mounts"]}
    assert places["/dev/gateway"]["source"] == "/dev"
    assert {"bind", "ro"} <= set(places["/dev/gateway"]["options"])
    assert places["/dev/ttyS1"]["source"] == "/dev/ttyS1"
    assert "char-ttyUSB" not in places
    unit = units("mine", made)["container-mine.service"].splitlines()
    assert {"DevicePolicy=closed", "DeviceAllow=char-ttyUSB rw"} <= set(unit)
    assert "/dev/gateway" not in {m["destination"] for m in config(devices=["/dev/x"])["mounts"]}


def test_no_program_of_a_container_is_marked_to_gain_rights() -> None:
    marked = Tree().with_nodes({"usr/bin/su": file(b"x", mode=0o4755)})
    assert root(marked)["usr/bin/su"].mode == 0o755


def test_all_is_every_capability() -> None:
    assert len(config(capabilities=["ALL"])["process"]["capabilities"]["bounding"]) == 41
    assert spec.capabilities(service(capabilities=["ALL"])) == sorted(CAPABILITIES)


def test_the_command_runs_below_an_init_that_passes_signals_on() -> None:
    assert config()["process"]["args"] == ["/usr/lib/edgeimg/init", "--", "busybox"]
    assert config(pids="host")["process"]["args"] == ["busybox"]


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_seccomp_follows_architecture_and_capabilities(arch: Arch) -> None:
    def allowed(*capabilities: str) -> set[str]:
        rules = seccomp.profile(DATA, arch, capabilities)["syscalls"]
        refused = {n for rule in rules for n in rule["names"] if "ERRNO" in rule["action"]}
        opened = {n for rule in rules for n in rule["names"] if "ALLOW" in rule["action"]}
        assert not opened & refused
        return opened

    assert allowed() == {"read", "write"} | ({"arch_prctl"} if arch is X86_64 else set())
    assert "mount" in allowed("SYS_ADMIN")
    assert "syslog" in allowed("SYSLOG")
    assert seccomp.guarded(DATA)["mount"] == "SYS_ADMIN"
    assert seccomp.guarded(DATA)["kcmp"] == "SYS_PTRACE"


def test_a_profile_that_is_none_is_one_error() -> None:
    with pytest.raises(ArchiveError, match="is no seccomp profile"):
        seccomp.profile(b"{}", X86_64, ())


def test_units_limit_restart_and_ask() -> None:
    health = {"command": ["x", 'a "b" $c %d'], "interval": 7, "timeout": 3, "retries": 2}
    made = units("mine", service(memory="8 MiB", cpu=50, processes=10, after=["ssh", "a.target"],
                                 devices=["/dev/ttyS1"], health=health))  # fmt: skip
    text = made["container-mine.service"]
    for line in ("MemoryMax=8388608", "CPUQuota=50%", "TasksMax=14", "Restart=always",
                 "After=container-ssh.service a.target", "DeviceAllow=/dev/ttyS1 rw",
                 "ConditionPathExists=|!/var/lib/edgeimg/services/mine.disabled"):  # fmt: skip
        assert line in text.splitlines()
    assert "OnUnitInactiveSec=7" in made["container-mine-health.timer"]
    # What is said of every half minute would wear the flash.
    assert "\nLogLevelMax=notice\nSyslogLevel=warning\n" in made["container-mine-health.service"]
    assert r'health mine 2 3 "x" "a \"b\" $$c %%d"' in made["container-mine-health.service"]
    assert units("mine", service(enabled=False)).keys() == {"container-mine.service"}
    off = units("mine", service(enabled=False))["container-mine.service"]
    assert "ConditionPathExists=|/var/lib/edgeimg/services/mine.enabled" in off


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    health = {"command": ["sh", "-c", "exit 0"]}
    for name, text in units("mine", service(health=health)).items():
        (tmp_path / name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert [line for line in told if str(tmp_path) in line] == []


def test_the_root_has_accounts_mount_points_and_a_shell() -> None:
    made = root(network="host", data="/data/x", mounts=[
        {"source": "/etc/machine-id", "target": "/etc/id", "kind": "file"},
        {"source": "/run/x", "target": "/run/x"},
    ])  # fmt: skip
    assert f"mine:x:{UID}:{UID}:".encode() in made["etc/passwd"].read()
    assert made["data/x"].kind is Kind.DIRECTORY
    assert made["etc/id"].kind is Kind.FILE
    assert made["etc/resolv.conf"].kind is Kind.FILE
    assert "run/x" not in made
    assert made["usr/bin/sh"].target == "busybox"
    assert made["usr/lib/edgeimg/init"].mode == 0o755


def test_what_an_image_says_holds_where_the_recipe_says_nothing() -> None:
    image = Image(
        tree=Tree().with_nodes({"sbin/program": file(b"#!", mode=0o755)}),
        command=("program", "-a"),
        environment={"A": "image", "B": "image"},
        workdir="/work",
        user=(5, 6),
    )
    given = {"image": "x:1", "user": "image", "environment": {"B": "recipe"}}
    mine = Service.model_validate(given)
    process = spec.config("mine", mine, UID, None, image)["process"]
    assert process["args"][2:] == ["program", "-a"]
    assert process["user"] == {"uid": 5, "gid": 6}
    assert {"A=image", "B=recipe"} <= set(process["env"])
    assert process["cwd"] == "/work"
    made = rootfs.make(
        "mine", mine, UID, arch=X86_64, packages=[], image=image, project_files=Tree(), init=b"init"
    )
    assert {"proc", "sys", "dev", "run", "tmp", "etc/passwd"} <= {path for path, _ in made.items()}
    parts_ = replace(parts(), images={"mine": image})
    root_ = compose.compose({"mine": mine}, X86_64, parts_)
    assert root_["usr/lib/edgeimg/services/mine/user"].read() == b"5\n"


def test_files_of_the_project_win() -> None:
    given = Tree().with_nodes(
        {"etc/passwd": file(b"mine"), "usr/bin/busybox": file(b"#!", mode=0o755)}
    )
    made = root(given)
    assert made["etc/passwd"].read() == b"mine"
    assert made["usr/bin/busybox"].read() == b"#!"


@pytest.mark.parametrize("command", ["gone", "/usr/bin/gone", "/etc"])
def test_a_command_that_is_not_there_is_refused(command: str) -> None:
    with pytest.raises(ArchiveError, match=f"mine: its container has no program {command}"):
        root(command=[command])


def test_a_command_in_a_mount_is_left_to_the_gateway() -> None:
    assert root(command=["/x/run"], mounts=[{"source": "/var/x", "target": "/x"}])


def parts(*names: str) -> compose.Parts:
    packages = {name: [BUSYBOX] for name in names}
    return compose.Parts(packages=packages, images={}, project_files={}, init=b"init", seccomp=DATA)


def test_all_services_are_at_their_place_and_enabled() -> None:
    recipe = {"a": service(), "b": service(data="/d"), "c": service(user="root", data="/d")}
    made = compose.compose(recipe, X86_64, parts("a", "b", "c"))
    base = "usr/lib/edgeimg/services"
    assert json.loads(made[f"{base}/a/config.json"].read())["hostname"] == "a"
    assert made[f"{base}/a/rootfs/usr/bin/busybox"].origin == "service:a"
    assert b"165 mount SYS_ADMIN\n" in made[f"{base}/a/denied"].read()
    assert {rule.pattern for rule in read_rules(made)} == {f"container-{n}.service" for n in "abc"}
    uid = compose.users(recipe)["b"]
    kept = made["usr/lib/tmpfiles.d/edgeimg-services.conf"].read().decode()
    assert f"d /var/lib/edgeimg/services/b 0700 {uid} {uid} -\n" in kept
    assert "d /var/lib/edgeimg/services/c 0700 0 0 -\n" in kept
    accounts = made["usr/lib/sysusers.d/edgeimg-services.conf"].read().decode()
    assert "svc-c" not in accounts
    assert f"u svc-b {uid} " in accounts
    assert compose.compose({}, X86_64, parts()).items() == []


@pytest.mark.parametrize(("arch", "number"), [(X86_64, 165), (ARM64, 40), (ARM, 21)])
def test_denied_calls_have_the_architectures_numbers(arch: Arch, number: int) -> None:
    made = compose.compose({"a": service()}, arch, parts("a"))
    told = made["usr/lib/edgeimg/services/a/denied"].read().decode()
    assert f"{number} mount SYS_ADMIN\n" in told


def test_users_are_drawn_from_names_and_never_shared() -> None:
    many = {f"s{number}": service() for number in range(600)}
    numbers = compose.users(many)
    assert len(set(numbers.values())) == 600
    assert (
        compose.users({"s1": service()})["s1"]
        == compose.users({"s1": service(), "s0": service()})["s1"]
    )
    with pytest.raises(RecipeError, match="user numbers"):
        compose.users({f"s{number}": service() for number in range(1001)})


def test_crun_must_be_in_the_image() -> None:
    with pytest.raises(RecipeError, match="need crun") as caught:
        compose.require_runtime(Tree(), {"a": service()})
    assert "packages.include" in str(caught.value.hint)
    compose.require_runtime(Tree(), {})


def test_a_root_is_taken_apart_into_those_that_programs_see() -> None:
    made = compose.compose({"a": service()}, X86_64, parts("a")).with_nodes({"etc": directory()})
    own, (base, inside) = roots(made)
    assert base == "usr/lib/edgeimg/services/a/rootfs/"
    assert (
        "usr/bin/busybox" in inside[0] if isinstance(inside, tuple) else "usr/bin/busybox" in inside
    )
    assert "usr/lib/edgeimg/services/a/config.json" in own[1]
    assert not any("rootfs/" in path for path, _ in own[1].items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('packages = ["xz"]', "expected 'command'"),
        ('command = ["x"]', "expected one of 'packages', 'binary', 'image'"),
        ('packages = ["xz"]\nbinary = "y"\ncommand = ["x"]', "expected one of 'packages'"),
        ('image = "x:1"\ncommand = ["x"]\narchive = "y"', "expected one of"),
        ('image = "X Y"', "does not match"),
        ('packages = ["xz"]\ncommand = ["x"]\nuser = "image"', "user = 'image' is for"),
        ('packages = ["xz"]\ncommand = ["x"]\ncapabilities = ["NET"]', "capabilities(7)"),
        ('packages = ["xz"]\ncommand = ["x"]\ndata = "x"', "data"),
        ('packages = ["xz"]\ncommand = ["x"]\ndata = "/a/../b"', "absolute path"),
        ('packages = ["xz"]\ncommand = ["x"]\nnetwork = "all"', "'none' or 'host'"),
        ('packages = ["xz"]\ncommand = ["x"]\ncapabilites = []', "capabilities"),
    ],
)  # fmt: skip
def test_a_wrong_service_is_one_error_with_its_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"[services.mine]\n{text}\n")
    with pytest.raises(RecipeError) as caught:
        load(path)
    assert expected in caught.value.message
    assert "services.mine" in caught.value.message


@pytest.mark.parametrize("name", ["Ssh", "k3s", "a_b", ""])
def test_names_of_services(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'[services."{name}"]\npackages = ["xz"]\ncommand = ["x"]\n')
    with pytest.raises(RecipeError, match="expected a name such as 'ssh'"):
        load(path)
