"""The support bundle of a gateway: what is in it, its bounds, and that no secret is.

Busybox's programs make it here of files. systemctl, journalctl, networkctl and Kubernetes' programs
print planted texts: they have no gateway to ask.
"""

from __future__ import annotations

import base64
import fcntl
import html
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.gateway_root import KEY, Root, programs

TOKEN = "K10" + "5e" * 32 + "::node:7d0e9c6b1f2a48d3b5c7"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLW9mLWEtdG9rZW4"
PEM = base64.b64encode(bytes(range(7, 128))).decode()
SECRETS = {
    "token": TOKEN,
    "its password": "7d0e9c6b1f2a48d3b5c7",
    "agent token": "another one/of+agents==",
    "wifi": "Hall 3 & \\ 100% geheim: Schlüssel",
    "wifi sae": "sae-pass",
    "lte": "p4ss:w0rd/of",
    "pin": "4711",
    "proxy": "pro%xy p@ss",
    "registry": 'quo"ted\\back',
    "rollout": "0123456789abcdefRollout",
    "server token": "server-side-token-of-k3s",
    "node password": "9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "kubeconfig": base64.b64encode(PEM.encode()).decode(),
    "key, first line": PEM[:64],
    "key, last line": PEM[128:],
    "service": "of the service itself",
    "wireguard": "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
    "tunnel": "sJzPc5n0BXHLYOKMPPwhhGZCTqFZ2m9iG0xzyYJ0bEI=",
    "tunnel of its own": "0N+2vEl8rRmtP0i4d8ZyPqRrTfIhO1nGZGsV6mC8pXk=",
    "preshared": "m3dqXhVQ9sHn7yT0oFJ2lKcZb5rWgUe1iAx8vSpNt4Y=",
    "volume": "from-a-secret-volume",
    "secret object": "mysql-Pa$$word!",
    "passwd": "b7c1d0e9f8a7b6c5d4e3",
    "pass": "pass-of-a-service",
    "api key": "key/of the API",
    "credential": "cred <of> a & service",
    "iscsi": "in-of-the-initiator",
    "brace": "br}ace]and,comma",
    "header": "it's of the header",
    "bearer": "abcdef0123456789-bearer",
    "block": "a block of YAML",
    "long": "".join(f"{number:x}~" for number in range(1500)),
}

HEADER = "Basic " + base64.b64encode(f"me:{SECRETS['header']}".encode()).decode()


def key_file() -> str:
    body = "\n".join(PEM[i : i + 64] for i in range(0, len(PEM), 64))
    return f"-----BEGIN EC PRIVATE KEY-----\n{body}\n-----END EC PRIVATE KEY-----\n"


def writings(secret: str) -> set[str]:
    """How a text may hold a secret; of base64 what the secret alone determines."""
    raw = secret.encode()
    found = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    found.add(re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")))
    found.add(json.dumps(secret)[1:-1])
    if len(secret) < 60:  # longer ones are base64 already
        found |= {raw.hex(), raw.hex().upper()}
    found.add(json.dumps(json.dumps(secret))[3:-3])
    go = json.dumps(secret, ensure_ascii=False)[1:-1]
    for letter in "&<>":
        go = go.replace(letter, f"\\u{ord(letter):04x}")
    found |= {go, json.dumps(secret)[1:-1].replace("/", "\\/"), shlex.quote(secret)}
    found.add("".join(f"\\{byte:03o}" if byte > 126 else chr(byte) for byte in raw))
    found.add(re.sub(r"([^\w/.:@%+=-])", r"\\\1", secret))  # as printf %q of a shell
    found.add(html.escape(secret))
    found.add(base64.b64encode(f'{{"password":"{go}"}}'.encode()).decode())
    for lead in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"x" * lead + raw).decode()
            end = (lead + len(raw)) * 8 // 6
            found.add(text[-(-lead * 8 // 6) : end])
    return {form for form in found if len(form) >= 4}


STAY = ["plain text stays", "K3s: server, Ready", "k3s:agent"]


def lines() -> list[str]:
    """Texts with every secret in every writing, alone and among others, and long ones split."""
    result = ["GET /a%0Ab HTTP/1.1", "an escaped line end \\u000a in a text"]
    for secret in SECRETS.values():
        result += [f"level=info msg={form} end" for form in sorted(writings(secret))]
        for lead in ("", "u", "user:"):
            result.append(f"Basic {base64.b64encode(f'{lead}{secret}'.encode()).decode()}")
        if len(secret) >= 32:
            half = len(secret) // 2
            result += [f"wrapped {secret[:half]}", f"{secret[half:]} and on"]
    return [*result, f"bearer {JWT}", "nothing to hide 47110", *STAY]


SETTINGS = {
    "k3s.yaml": f'role: agent\nserver: "https://192.0.2.1:6443"\ntoken: "{TOKEN}"\n',
    "wifi.conf": f'network={{\nssid="hall"\npsk="{SECRETS["wifi"]}"\nsae_password="sae-pass"\n}}\n',
    "lte.conf": f"apn=internet,user=me,password={SECRETS['lte']},pin=4711\n",
    "proxy.conf": f"HTTPS_PROXY=http://me:{quote(SECRETS['proxy'])}@proxy.example.org:3128\n",
    "registries.conf": f"[docker.io]\nuser=me\npassword={SECRETS['registry']}\n",
    "rollout.conf": f"TOKEN={SECRETS['rollout']}\n",
    "wireguard.conf": (
        f"[Interface]\nPrivateKey = {SECRETS['tunnel']}\nAddress = 10.8.0.2/24\n[Peer]\n"
        "PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nEndpoint = a:1\n"
        f"PresharedKey={SECRETS['preshared']}\nAllowedIPs = 10.8.0.0/24\n"
    ),
    "authorized_keys": KEY + "\n",
}
FILES = {
    "var/lib/edgeimg/provision/network/wg0.netdev": f"PrivateKey={SECRETS['wireguard']}\n",
    "var/lib/edgeimg/provision-wireguard": f"PrivateKey={SECRETS['tunnel of its own']}\n",
    "var/lib/edgeimg/services/wifi/wpa_supplicant.conf": f'psk="{SECRETS["service"]}"\n',
    "etc/rancher/k3s/config.yaml": f"agent-token: '{SECRETS['agent token']}'\n",
    "etc/rancher/k3s/k3s.yaml": f"    client-key-data: {SECRETS['kubeconfig']}\n",
    "var/lib/edgeimg/services/app/settings": (
        f"db_pass={SECRETS['pass']}\nAPI-Key: {SECRETS['api key']}\npassword: {SECRETS['long']}\n"
        f'"credentials": "{SECRETS["credential"]}"\npassword: |-\n  {SECRETS["block"]}\nend: x\n'
    ),
    "var/lib/iscsi/node": f"node.session.auth.password_in = {SECRETS['iscsi']}\n",
    "etc/containerd/certs.d/x/hosts.toml": (
        f'[host."https://x".header]\n  X-Other = ["{HEADER}", "Bearer {SECRETS["bearer"]}"]\n'
    ),
    "var/lib/edgeimg/services/lte/connect": f"user=me,password={SECRETS['brace']}\n",
    "var/lib/rancher/k3s/server/token": SECRETS["server token"] + "\n",
    "var/lib/rancher/node/password": SECRETS["node password"] + "\n",
    "var/lib/rancher/k3s/server/cred/passwd": f"{SECRETS['passwd']},server,server,k3s:server\n",
    "run/edgeimg/some.problem": "'token': expected plain text\n",
    "var/lib/rancher/k3s/server/tls/client-admin.key": key_file(),
    "var/lib/kubelet/pods/u/volumes/kubernetes.io~secret/s/..1/password": SECRETS["volume"],
}  # fmt: skip


class Gateway:
    """A gateway's files, with secrets, and programs that print them."""

    def __init__(self, path: Path) -> None:
        self.root = Root(path / "root")
        self.root.put({f"edgeimg/{name}": text.encode() for name, text in SETTINGS.items()})
        assert self.root.start() == ""
        for name, text in FILES.items():
            target = self.root.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        (self.root.path / "etc/rancher/k3s/k3s.env").unlink()  # a server: it has an API to ask
        self.programs = path / "programs"
        self.programs.mkdir()
        self.journal, self.text = path / "journal", path / "text"
        self.journal.write_text("\n".join(lines()) + "\n")
        self.text.write_text("\n".join([*SECRETS.values(), *lines()[-2 - len(STAY) :]]) + "\n")
        (self.root.path / "proc").mkdir()
        (self.root.path / "dev").mkdir()
        (self.root.path / "proc/mounts").touch()
        (self.root.path / "proc/meminfo").write_text("MemTotal: 496000 kB\n")
        kubernetes = self.root.path / "usr/lib/k3s/current/bin"
        kubernetes.mkdir(parents=True)
        for name in ("systemctl", "networkctl", "edgeimg-status", "edgeimg-service"):
            self.program(self.programs / name, f"cat {self.text}")
        self.program(self.programs / "journalctl", f"cat {self.journal}")
        self.program(kubernetes / "ctr", f"cat {self.text}")
        self.kubectl = kubernetes / "kubectl"
        self.cluster = path / "cluster"
        self.cluster.write_text(SECRETS["secret object"] + "\n")
        self.program(
            self.kubectl,
            f'case "$*" in "get secrets"*) cat {self.cluster} ;; *) cat {self.text} ;; esac',
        )
        log = self.root.path / "var/log/pods/default_app_1/app/0.log"
        log.parent.mkdir(parents=True)
        log.write_text(self.text.read_text())
        self.program_file = self.root.path / "usr/lib/edgeimg/bundle"
        self.filter = self.root.path / "usr/lib/edgeimg/bundle-filter.awk"

    @staticmethod
    def program(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def command(self, target: str) -> list[str]:
        return [str(self.root.path / "usr/lib/edgeimg/bundle"), target, str(self.root.path)]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.programs}:{programs()}"}

    def run(self, target: str = "-") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(target),
            capture_output=True,
            check=False,
            env=self.environment,
            timeout=600,
        )

    def left(self) -> list[Path]:
        return list((self.root.path / "run/edgeimg").glob("bundle.*"))


def parts(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = {one.name: opened.extractfile(one) for one in opened if one.isfile()}
        return {
            name.rpartition("/")[2]: file.read().decode(errors="surrogateescape")
            for name, file in files.items()
            if file
        }


def stands_alone(word: str, text: str) -> bool:
    """Whether a text has a word that is short, so that a number of the host has it by chance."""
    return re.search(rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])", text) is not None


def leaks(found: dict[str, str]) -> set[str]:
    """Names of the secrets that are in any part, in any writing, or in pieces."""
    return {
        f"{part}: {name}"
        for part, text in found.items()
        for name, secret in SECRETS.items()
        for form in (*writings(secret), *((secret[:12], secret[-12:]) * (len(secret) >= 32)))
        if (stands_alone(form, text) if form == SECRETS["pin"] else form in text)
    } | {f"{part}: service account" for part, text in found.items() if JWT in text}


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gateway, dict[str, str]]:
    """A gateway and its bundle, as written into a directory such as a stick's."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    stick = tmp_path_factory.mktemp("stick")
    done = gateway.run(str(stick))
    assert (done.returncode, done.stderr) == (0, b"")
    (file,) = stick.iterdir()
    assert done.stdout.decode() == f"{file}\n"
    assert re.fullmatch(r"edgeimg-bundle-[\w.-]+-\d{8}T\d{6}Z\.tar\.gz", file.name)
    return gateway, parts(file.read_bytes())


def test_a_bundle_has_every_part_and_no_secret(made: tuple[Gateway, dict[str, str]]) -> None:
    gateway, found = made
    assert leaks(found) == set()
    assert set(found) == {
        "README.txt", "versions.txt", "status.txt", "hardware.txt", "units.txt", "journal.txt",
        "journal-before.txt", "kernel.txt", "network.txt", "disks.txt", "memory.txt",
        "processes.txt", "services.txt", "k3s.txt", "containers.txt", "pods.txt",
    }  # fmt: skip
    for name in ("status", "units", "journal", "network", "k3s", "containers", "pods"):
        assert "\n".join(["nothing to hide 47110", *STAY]) in found[f"{name}.txt"]
        assert "(removed)" in found[f"{name}.txt"]
    assert "MemTotal:" in found["memory.txt"]
    assert "Left out for privacy" in found["README.txt"]
    assert "All parts are there." in found["README.txt"]
    assert gateway.left() == []


def disable_filter(gateway: Gateway, *checks: str) -> None:
    """Nothing is removed, and these functions of the program agree to everything."""
    change(gateway.filter, "function redact(line,   ", "{", "{ return line")
    for check in checks:
        change(gateway.program_file, f"{check}() ", "{", "{ return 0")


def change(file: Path, after: str, old: str, new: str) -> None:
    """Replaces `old` by `new` at its first place behind `after`."""
    text = file.read_text()
    lead, found, rest = text.partition(after)
    assert found and old in rest
    file.write_text(lead + found + rest.replace(old, new, 1))


def test_without_the_filter_every_secret_is_found(gateway: Gateway) -> None:
    """The control of the test above: its search finds each secret."""
    disable_filter(gateway, "removes_canaries", "is_clean")
    found = leaks(parts(gateway.run().stdout))
    assert {line.partition(": ")[2] for line in found if line.startswith("journal.txt")} >= {
        *SECRETS
    }


@pytest.mark.parametrize(
    ("check", "message"),
    [("removes_canaries", b"the last search for secrets has found one"),
     ("is_clean", b"could not be listed")],
)  # fmt: skip
def test_a_filter_that_does_nothing_is_noticed_twice(
    gateway: Gateway, check: str, message: bytes
) -> None:
    disable_filter(gateway, check)
    done = gateway.run()
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr
    assert gateway.left() == []


def test_a_list_of_secrets_that_does_not_end_is_no_list(gateway: Gateway) -> None:
    """The time is over at a file in the middle, so the last canary is not there."""
    gateway.program(gateway.programs / "sort", "exec cat")
    slow = gateway.filter.with_name("bundle-secrets.awk")
    slow.write_text(slow.read_text() + '/^db_pass/ { system("sleep 4") }\n')
    start = time.monotonic()
    done = subprocess.run(
        gateway.command("-"), capture_output=True, check=False,
        env={**gateway.environment, "search_seconds": "2"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"could not be listed" in done.stderr
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("program", ["secrets", "filter"])
def test_without_a_list_of_secrets_there_is_no_bundle(gateway: Gateway, program: str) -> None:
    gateway.filter.with_name(f"bundle-{program}.awk").write_text("BEGIN { exit }\n")
    done = gateway.run()
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"could not be listed" in done.stderr
    assert gateway.left() == []


def test_an_image_without_k3s_misses_none_of_its_files(gateway: Gateway) -> None:
    for name in ("var", "run/edgeimg", "etc/rancher"):
        shutil.rmtree(gateway.root.path / name)
    (gateway.root.path / "usr/lib/edgeimg/unready").touch()
    readme = parts(gateway.run().stdout)["README.txt"]
    assert "this image has no K3s" in readme
    assert "K3s has written no" not in readme


def test_a_long_journal_is_cut_at_a_line_and_its_end_is_kept(gateway: Gateway) -> None:
    with gateway.journal.open("w") as file:
        file.writelines(f"{number:08} {'x' * 4000}\n" for number in range(1700))
    for name in ("var", "run/edgeimg", "etc/rancher"):  # the fewer secrets, the less to do
        shutil.rmtree(gateway.root.path / name)
    found = parts(gateway.run().stdout)
    assert "K3s has written no" in found["README.txt"]
    assert "no K3s" not in found["README.txt"]
    assert 6 << 20 > len(found["journal.txt"]) > (6 << 20) - 5000
    assert re.match(r"\d{8} ", found["journal.txt"])
    assert found["journal.txt"].splitlines()[-1].startswith("00001699")
    assert sum(map(len, found.values())) < 32 << 20


def test_a_part_that_fails_is_listed_and_the_others_go_on(gateway: Gateway) -> None:
    gateway.program(gateway.programs / "journalctl", "echo broken >&2; exit 7")
    gateway.program(gateway.programs / "networkctl", f"echo break the filter; cat {gateway.text}")
    gateway.program(gateway.kubectl, "exit 1")
    program = gateway.filter.read_text()
    gateway.filter.write_text(
        program.replace("FNR == 1 &&", "/^break the filter/ { exit 1 }\nFNR == 1 &&", 1)
    )
    done = gateway.run()
    found = parts(done.stdout)
    assert done.returncode == 3
    assert "network.txt" not in found
    assert b"network.txt: it could not be searched for secrets" in done.stderr
    assert "journal.txt: journalctl --boot" in (text := found["README.txt"])
    assert "exit code 7" in text
    assert "pods.txt: the cluster's Secrets could not be read" in text
    assert "broken" in found["journal.txt"]
    assert "MemTotal:" in found["memory.txt"]
    assert "nothing to hide" not in found["pods.txt"]
    assert {line for line in leaks(found) if not line.endswith("secret object")} == set()


def test_an_interrupted_bundle_leaves_nothing(gateway: Gateway, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    gateway.program(gateway.programs / "edgeimg-status", f"touch {mark}; exec sleep 30")
    # A shell cannot trap what was ignored when it started, such as SIGINT in a background job.
    process = subprocess.Popen(
        gateway.command(str(tmp_path / "x.tar.gz")), env=gateway.environment,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C sends
    assert process.wait(20) == 130
    assert gateway.left() == []
    assert list(tmp_path.glob("x.tar*")) == []


def test_a_place_that_cannot_be_written_is_refused_at_once(gateway: Gateway) -> None:
    done = gateway.run("/proc/no/such/place")
    assert done.returncode == 1
    assert b"/proc/no/such/place" in done.stderr
    assert gateway.left() == []


def test_a_terminal_gets_no_bundle(gateway: Gateway) -> None:
    master, slave = pty.openpty()
    done = subprocess.run(
        gateway.command("-"), stdout=slave, stderr=subprocess.PIPE, check=False,
        env=gateway.environment,
    )  # fmt: skip
    os.close(slave)
    os.close(master)
    assert done.returncode == 2
    assert b"not written to a terminal" in done.stderr


@pytest.mark.parametrize("place", ["/dev/null", "dev/sda", "dev", "link"])
def test_a_device_is_never_written_over(gateway: Gateway, tmp_path: Path, place: str) -> None:
    device = gateway.root.path / "dev/sda"
    device.write_bytes(b"a raw disk")
    (gateway.root.path / "link").symlink_to(device)
    done = gateway.run(str(gateway.root.path / place))
    assert done.returncode == 1
    assert b"is a place for devices, and no mounted file system" in done.stderr
    assert device.read_bytes() == b"a raw disk"
    assert [file.name for file in device.parent.iterdir()] == ["sda"]


def test_of_a_device_its_mounted_file_system_is_meant(gateway: Gateway, tmp_path: Path) -> None:
    device, stick = gateway.root.path / "dev/sda1", tmp_path / "a stick"
    device.write_bytes(b"a file system")
    stick.mkdir()
    mounts = gateway.root.path / "proc/mounts"
    mounts.write_text(f"{device} {str(stick).replace(' ', chr(92) + '040')} vfat rw 0 0\n")
    done = gateway.run(str(device))
    assert done.returncode == 0, done.stderr
    (file,) = stick.iterdir()
    assert "README.txt" in parts(file.read_bytes())
    assert device.read_bytes() == b"a file system"


def test_two_at_once_are_refused_and_the_second_succeeds_afterwards(gateway: Gateway) -> None:
    with (gateway.root.path / "run/edgeimg/bundle-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = gateway.run()
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"another bundle is being made" in done.stderr
    left = gateway.root.path / "run/edgeimg/bundle.killed"
    left.mkdir()
    assert gateway.run().returncode == 0
    assert not left.exists()


def test_a_bundle_gives_way_to_k3s(gateway: Gateway) -> None:
    gateway.program(
        gateway.programs / "networkctl",
        "cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat; ionice -p $$",
    )
    expected = f"\n900\n{min(os.nice(0) + 10, 19)}\nbest-effort: prio 7\n"
    assert expected in parts(gateway.run().stdout)["network.txt"]


def test_the_readme_says_what_holds_for_the_secrets_of_the_cluster(gateway: Gateway) -> None:
    for name, text in (("k3s/k3s.env", "K3S_ROLE=agent\n"), ("k3s/x", "")):
        (gateway.root.path / "etc/rancher" / name).write_text(text)
    agent = parts(gateway.run().stdout)["README.txt"]
    assert "is an agent and may not read the cluster's Secrets" in agent
    (gateway.root.path / "etc/rancher/k3s/k3s.env").unlink()
    assert (
        "values of the cluster's Secrets were replaced" in parts(gateway.run().stdout)["README.txt"]
    )
    gateway.program(gateway.kubectl, "exit 1")
    failed = parts(gateway.run().stdout)["README.txt"]
    assert "THE CLUSTER'S SECRETS COULD NOT BE READ" in failed
    assert "were replaced, too" not in failed


@pytest.mark.parametrize(
    "text",
    ["Hall 3 & geheim: Schl\\u00fcssel", r"Hall\ 3\ \&\ geheim:\ Schl\303\274ssel",
     "Hall 3 &amp; geheim: Schl\\xc3\\xbcssel", "Hall 3 & geheim: Schl%C3%BCssel"],
)  # fmt: skip
def test_no_end_of_a_secret_is_left_behind_an_escape(gateway: Gateway, text: str) -> None:
    """What stands before the escape is long enough to be found alone; what is behind is not."""
    forms = gateway.root.path / "forms"
    filtered = ""
    for what, files, content in (
        ("forms", (), "Hall 3 & geheim: Schlüssel\n"), ("remove", (forms, "-"), f"a {text} z\n"),
    ):  # fmt: skip
        filtered = subprocess.run(
            ["awk", "-v", f"what={what}", "-f", gateway.filter, *files], input=content, text=True,
            capture_output=True, check=True, env={**gateway.environment, "LC_ALL": "C"},
        ).stdout  # fmt: skip
        forms.write_text(filtered)
    assert filtered == "a (removed) z\n"
