"""Services of a running gateway: restarted, health-checked, walled in, and told apart by name.

The default image with services of every source on top, looked at over ssh, which is one of them. It
is booted once, until a pod runs; the tests go on from there.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.arch import ARCHITECTURES, X86_64
from edgeimg.vm.disk import raw_image

from tests import gateway as gateways
from tests import snapshot
from tests.cluster import KUBECTL
from tests.gateway import EMPTY, FILL, Gateway, built, edgeimg
from tests.integration import docker_engine
from tests.snapshot import Hardware, Snapshot, forked

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
]
HAS_ENGINE = os.geteuid() == 0 and docker_engine.programs()
KILLS = int(os.environ.get("EDGEIMG_TEST_SERVICE_KILLS", "10"))

SERVICES = """
[services.steady]
binary = "programs/busybox-{arch}"
files = "programs/root"
command = ["busybox", "sleep", "100000"]

[services.hanging]
binary = "programs/busybox-{arch}"
files = "programs/root"
command = ["sh", "-c", "busybox touch /tmp/well; exec busybox sleep 100000"]
health = { command = ["busybox", "test", "-e", "/tmp/well"], interval = 2, retries = 2 }

[services.greedy]
binary = "programs/busybox-{arch}"
files = "programs/root"
command = ["busybox", "mount", "-t", "tmpfs", "x", "/tmp"]
enabled = false

[services.web]
packages = ["busybox-static"]
command = ["busybox", "httpd", "-f", "-p", "80", "-h", "/tmp"]
network = "host"
enabled = false

[services.router]
packages = ["busybox-static"]
command = ["busybox", "ip", "link", "set", "lo", "mtu", "60000"]
network = "host"
enabled = false

[services.writing]
binary = "programs/busybox-{arch}"
files = "programs/root"
command = ["sh", "-c", "busybox id -u > /keep/uid; > /usr/x || exec busybox sleep 100000"]
data = "/keep"

[services.archived]
archive = "programs/image-{arch}.tar"
user = "image"

[services.layout]
archive = "programs/layout-{arch}"

[services.packaged]
packages = ["busybox-static"]
command = ["busybox", "sleep", "100000"]
"""
SERVED = {"archived", "hanging", "health", "layout", "packaged", "steady", "writing"}
SERVED |= {"pulled"} if HAS_ENGINE else set()
"""What runs, beside ssh: a Docker archive, an OCI layout, packages, a static program, and an image
out of a Docker engine."""
PULLED = """
[services.pulled]
image = "REGISTRY/acme/sleeper:1"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny) -> Path:
    """The default project with the services above, locked, and a key to log in with."""
    root = tmp_path_factory.mktemp("services")
    gateways.project(root)
    programs = root / "programs"
    (programs / "root/usr/bin").mkdir(parents=True)
    images = {}
    for arch in ARCHITECTURES:
        busybox = tiny.trees(arch, "initrd")["busybox-static"].tree["usr/bin/busybox"]
        (programs / f"busybox-{arch.name}").write_bytes(busybox.read())
        images[arch] = docker_engine.sleeper(busybox, arch)
        (programs / f"image-{arch.name}.tar").write_bytes(images[arch])
        with tarfile.open(fileobj=io.BytesIO(images[arch])) as tar:
            tar.extractall(programs / f"layout-{arch.name}", filter="data")
        (programs / f"layout-{arch.name}" / "manifest.json").unlink()  # of `docker save`
    shutil.copy(programs / "busybox-x86-64", programs / "root/usr/bin/busybox")
    (programs / "root/usr/bin/busybox").chmod(0o755)

    recipe = root / "recipes/gateway.toml"
    recipe.write_text(recipe.read_text() + SERVICES)
    if not HAS_ENGINE:
        edgeimg(root, "lock", "--accept-unsigned-index", "arm")
    else:
        with docker_engine.registry() as registry, docker_engine.engine() as host:
            registry.push("acme/sleeper", images)
            text = recipe.read_text() + PULLED.replace("REGISTRY", registry.address)
            recipe.write_text(text)
            edgeimg(root, "lock", "--accept-unsigned-index", "arm", DOCKER_HOST=host)
    return root  # the engine is gone: what was locked is in the cache


@pytest.fixture(scope="module")
def running(project: Path, cache, toolbox, tmp_path_factory) -> Snapshot:
    """The gateway once its first pod runs."""
    hardware = Hardware(raw=raw_image(built(project, X86_64), cache), toolbox=toolbox("qemu"))
    place = tmp_path_factory.mktemp("snapshots") / snapshot.key(hardware)
    return snapshot.snapshot(place, hardware, project / "key", pod_runs)


def pod_runs(gateway: Gateway) -> None:
    create = f"{KUBECTL} create --validate=false -f /usr/share/edgeimg/smoke/pod.yaml"
    gateway.until(f"[ -s /etc/rancher/k3s/k3s.yaml ] && {create}", 900)
    gateway.until(f"{KUBECTL} get pod edgeimg-hello --no-headers | grep Running", 900)


@pytest.fixture(scope="module")
def gateway(project: Path, running: Snapshot, tmp_path_factory) -> Iterator[Gateway]:
    console = tmp_path_factory.mktemp("guest") / "console.log"
    with forked(running, project / "key", console) as gateway:
        gateway.without_k3s()
        yield gateway


def test_services_are_listed_with_what_they_are_and_do(gateway: Gateway) -> None:
    made = SERVED
    for name in made:
        gateway.until(f"systemctl is-active container-{name}.service", 60)
    told = {one["name"]: one for one in json.loads(gateway.run("edgeimg-service list --json"))}
    assert told.keys() == {"greedy", "router", "ssh", "web", *made}
    assert told["steady"]["state"] == told["ssh"]["state"] == "active"
    assert told["ssh"]["health"] == "ok"
    assert told["greedy"] | {"memory_kib": None} == {
        "name": "greedy", "state": "inactive", "health": "-", "at_boot": False, "restarts": 0,
        "memory_kib": None,
    }  # fmt: skip


def test_a_service_has_its_own_user_and_directory_and_nothing_else(gateway: Gateway) -> None:
    uid = gateway.run("cat /var/lib/edgeimg/services/writing/uid").strip()
    assert 59000 <= int(uid) < 60000
    group = "/sys/fs/cgroup/system.slice/container-writing.service"
    status = gateway.run(f"cat /proc/$(tail -n 1 {group}/cgroup.procs)/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Name"] == "busybox"
    assert facts["Uid"].split() == [uid] * 4
    assert facts["CapEff"].strip("0") == facts["CapBnd"].strip("0") == ""
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"


def test_a_killed_service_comes_back_every_time(gateway: Gateway) -> None:
    script = f"""
        last=0 group=/sys/fs/cgroup/system.slice/container-steady.service
        for turn in $(seq {KILLS}); do
            for second in $(seq 60); do
                main=$(systemctl show -P MainPID container-steady.service)
                [ "$main" != 0 ] && [ "$main" != "$last" ] &&
                    [ "$(wc -l < $group/cgroup.procs)" -ge 3 ] && break
                sleep 0.5
            done
            [ "$main" != "$last" ] || exit 1
            last=$main
            kill -9 $(cat $group/cgroup.procs)
        done
        sleep 3
        systemctl show -P NRestarts container-steady.service
    """
    restarts = gateway.run(script, timeout=KILLS * 30 + 60)
    assert int(restarts) >= KILLS
    gateway.until("systemctl is-active container-steady.service", 30)


def test_a_hanging_service_is_restarted_by_its_health_check(gateway: Gateway) -> None:
    before = gateway.run("systemctl show -P MainPID container-hanging.service").strip()
    gateway.run("edgeimg-service shell hanging busybox rm /tmp/well")
    gateway.until(
        f'now=$(systemctl show -P MainPID container-hanging.service); '
        f'[ "$now" != {before} ] && [ "$now" != 0 ]', 90,
    )  # fmt: skip
    gateway.until(
        "journalctl -b -o cat | grep -q 'hanging does not answer (2 of 2), restarting it'"
    )


def test_a_capability_that_was_not_granted_is_named(gateway: Gateway) -> None:
    gateway.attempt("edgeimg-service start greedy")
    said = gateway.until("edgeimg-service logs greedy | grep CAP_", 60)
    assert "mount(2), which needs CAP_SYS_ADMIN" in said
    assert 'capabilities = ["SYS_ADMIN"] in [services.greedy]' in said
    gateway.run("edgeimg-service stop greedy")


@pytest.mark.parametrize(
    ("name", "capability"), [("web", "NET_BIND_SERVICE"), ("router", "NET_ADMIN")]
)
def test_a_capability_is_named_where_no_system_call_tells_it(
    gateway: Gateway, name: str, capability: str
) -> None:
    gateway.attempt(f"edgeimg-service start {name}")
    said = gateway.until(f"edgeimg-service logs {name} | grep CAP_", 60)
    gateway.run(f"edgeimg-service stop {name}")
    assert f"asked for CAP_{capability} and was refused" in said
    assert f'capabilities = ["{capability}"] in [services.{name}]' in said
    others = {word for word in said.split() if word.startswith("CAP_")} - {f"CAP_{capability}"}
    assert others == set()
    # Nothing is watched any more.
    watched = f"/sys/kernel/tracing/instances/edgeimg-{name}"
    gateway.until(f"[ ! -e {watched} ]", 90)


def test_a_login_is_the_gateway_and_not_its_container(gateway: Gateway) -> None:
    assert gateway.run("readlink /proc/self/ns/mnt") == gateway.run("readlink /proc/1/ns/mnt")
    assert gateway.run("cat /proc/self/cgroup").startswith("0::/user.slice/")
    assert gateway.run("grep CapEff /proc/self/status").split()[1] == "000001ffffffffff"


def test_disabling_lasts_and_enabling_starts(gateway: Gateway) -> None:
    gateway.run("edgeimg-service disable steady")
    gateway.run("systemctl start container-steady.service")
    assert gateway.attempt("systemctl is-active container-steady.service").returncode != 0
    gateway.run("edgeimg-service enable steady")
    gateway.until("systemctl is-active container-steady.service", 30)
    assert "no service nothing" in gateway.attempt("edgeimg-service show nothing").stderr


def test_a_full_data_disk_stops_no_service_and_space_freed_heals_k3s(
    project: Path, running: Snapshot, tmp_path: Path
) -> None:
    with forked(running, project / "key", tmp_path / "console.log") as gateway:
        gateway.run("systemctl is-active k3s.service")
        gateway.run(FILL, timeout=300)
        assert int(gateway.run("df -k /var | awk 'END { print $4 }'")) < 64
        gateway.run("edgeimg-service restart steady")
        gateway.run("edgeimg-service restart health")
        time.sleep(20)
        for name in ("ssh", "health", "steady"):
            gateway.until(f"systemctl is-active container-{name}.service", 30)
        assert gateway.login().returncode == 0
        gateway.run(EMPTY)
        gateway.until("/usr/lib/edgeimg/healthz; grep -q ^200 /run/edgeimg/health/healthz", 300)


def test_it_restarts_and_powers_off_without_noise(
    project: Path, running: Snapshot, tmp_path: Path
) -> None:
    console = tmp_path / "console.log"
    with forked(running, project / "key", console) as gateway:
        address = gateway.run(f"{KUBECTL} get pod edgeimg-hello -o jsonpath={{.status.podIP}}")
        assert gateway.run(f"wget -q -T 20 -O - http://{address}:8080/")
        gateway.restart(600)
        for name in SERVED:
            gateway.until(f"systemctl is-active container-{name}.service", 120)
        done = gateway.attempt("systemctl poweroff")
        assert (done.stdout, done.stderr) == ("", "")
        assert gateway.guest.process.wait(300) == 0
    text = console.read_text(errors="replace")
    assert "Kubernetes" in text  # the banner
    assert "Power down" in text
    for noise in ("start job", "start running", "stop running", "  OK  ", "bus"):
        assert noise not in text, noise
