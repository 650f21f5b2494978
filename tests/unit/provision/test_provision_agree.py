"""Whatever the desk accepts, the gateway accepts: generated settings, the gateway's own checks."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from edgeimg.provision import addresses, zones
from edgeimg.provision.rendering import files, refused
from edgeimg.provision.settings import Settings
from edgeimg.recipe import provisioning
from edgeimg.recipe.harmless import HARMLESS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from tests.gateway_root import programs

EXAMPLES = int(os.environ.get("EDGEIMG_TEST_SETTINGS", "400"))
"""Settings that are generated for each table."""
BASE = Path(__file__).parents[3] / "overlays/base"
JUDGE = """
for file; do
    name=${file#"$ROOT/files/"}
    name=${name#*/}
    said=$(od -An -v -tu1 "$file" | awk -v tabs=yes -f "$ROOT/usr/lib/edgeimg/provision-text.awk")
    [ -n "$said" ] || said=$("$ROOT/usr/lib/edgeimg/provision-check" "$name" "$file" "$ROOT")
    [ -z "$said" ] || echo "$file: $said"
done
"""
Files = dict[tuple[str, bytes], Any]


def form(pattern: str) -> st.SearchStrategy[str]:
    """Texts of a form; a few with the line end that `$` would let through."""
    good = st.from_regex(pattern, fullmatch=True)
    return st.one_of(good, good, good, good, st.from_regex(f"^{pattern}$", fullmatch=False))


def network_of(text: str) -> str:
    """A network around an address, if the prefix is one of its family."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


HOST = form(addresses._HOST)
NAME = form("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
ADDRESS = st.ip_addresses().map(str)
ODD = st.sampled_from(["fe80::1%eth0", "::ffff:10.0.0.1", "::", "10.0.0.1", "fd00::"])
ANY = st.one_of(ADDRESS, ODD)
PREFIXED = st.builds("{}/{}".format, ANY, st.integers(0, 33))
WORD = st.one_of(st.text(max_size=20), st.sampled_from(["hush ", "a\tb", 'a"b', "a'b\\"]))
SECRET = WORD.map(SecretStr)
TOKEN = st.one_of(WORD, form("[!-~]{1,20}")).map(SecretStr)
PATH = st.sampled_from(["", "/", "/v2/x", "/a_b-c.d"])
URL = st.builds("https://{}{}".format, HOST, PATH)
PLAIN = form("[a-z0-9$@#]{1,9}")
LOGIN = {
    "user": st.one_of(PLAIN, PLAIN, WORD),
    "password_file": st.one_of(PLAIN, PLAIN, WORD).map(SecretStr),
}
CARD = st.fixed_dictionaries(
    {"interface": form("[A-Za-z0-9*?][A-Za-z0-9_.*?-]{0,14}")},
    optional={
        "addresses": st.lists(PREFIXED, max_size=2),
        "gateway": ANY,
        "dns": st.lists(ANY, max_size=2),
        "search": st.lists(form("[A-Za-z0-9]([A-Za-z0-9.-]{0,20}[A-Za-z0-9])?"), max_size=2),
        "routes": st.lists(
            st.fixed_dictionaries({"to": PREFIXED, "via": ANY}), max_size=1
        ),
        "mtu": st.integers(60, 70000),
        "on_link": st.booleans(),
        "metric": st.integers(0, 9999),
        "accept_ra": st.booleans(),
    },
)  # fmt: skip
KEYS = [base64.b64encode(hashlib.sha256(bytes([number])).digest()).decode() for number in range(99)]
WIREGUARD_KEY = st.sampled_from([
    *KEYS, *(base64.b64encode(bytes(count)).decode() for count in (0, 31, 32, 33)),
    f"{'A' * 42}E=", f"{'A' * 42}B=", f"{KEYS[0]}=", f"{KEYS[0]}\n", KEYS[0].replace("=", ""),
])  # fmt: skip
V4 = st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(1, 32))
V6 = st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(1, 128))
TUNNEL = st.one_of(V4, V6, PREFIXED)
ENDPOINT = st.one_of(
    st.builds("{}:{}".format, NAME, st.integers(1, 65535)),
    st.builds("{}:{}".format, st.ip_addresses(v=4), st.integers(1, 65535)),
    st.builds("[{}]:{}".format, st.ip_addresses(v=6), st.integers(1, 65535)),
    st.builds("{}:{}".format, HOST, st.integers(0, 70000)),
    st.builds("[{}]:1".format, ODD),
)
PEER = st.fixed_dictionaries(
    {"public_key": WIREGUARD_KEY,
     "allowed_ips": st.lists(st.one_of(V4.map(network_of), V6.map(network_of), ODD), min_size=1,
                             max_size=2)},
    optional={"preshared_key_file": WIREGUARD_KEY.map(SecretStr), "endpoint": ENDPOINT,
              "keepalive": st.integers(0, 66000)},
)  # fmt: skip
OPTION = st.one_of(
    *(
        st.builds(
            lambda option, value, more, flag: (
                f"{option}{more}", [f"{flag}={value}" if flag else value]
            ),
            st.just(name.partition(".")[0]), form(f"({one.values})"), st.sampled_from(["", "+"]),
            st.just(name.partition(".")[2]),
        )
        for name, one in HARMLESS.items()
    )
)  # fmt: skip
TYPE = st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521",
                        "sk-ssh-ed25519@openssh.com"])  # fmt: skip
FIELD = st.one_of(
    st.sampled_from(
        [bytes(32), b"nistp256", b"nistp521", bytes(65), bytes(133), bytes(256), b"ssh:"]
    ),
    st.binary(max_size=40),
)
RIGHT = {
    "ssh-ed25519": (bytes(32),), "ssh-rsa": (b"\1\0\1", bytes(257)),
    "ecdsa-sha2-nistp256": (b"nistp256", bytes(65)),
    "ecdsa-sha2-nistp521": (b"nistp521", bytes(133)),
    "sk-ssh-ed25519@openssh.com": (bytes(32), b"ssh:"),
}  # fmt: skip


def key_line(kind: str, fields: tuple[bytes, ...] | None, cut: int, comment: str) -> str:
    """A line of authorized_keys; most are right, `cut` letters are missing in others."""
    parts = (kind.encode(), *(RIGHT[kind] if fields is None else fields))
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    text = base64.b64encode(blob).decode()
    return f"{kind} {text[: len(text) - cut]}{comment}"


KEY = st.builds(
    key_line, TYPE,
    st.one_of(*[st.none()] * 8, st.tuples(FIELD, FIELD), st.tuples(FIELD)),
    st.sampled_from([*[0] * 12, 1, 4]), form("( [!-~]{1,9})?"),
)  # fmt: skip
TABLES: dict[str, st.SearchStrategy[Any]] = {
    "hostname": NAME,
    "ntp": st.lists(st.one_of(HOST, ADDRESS), min_size=1, max_size=3),
    "timezone": st.one_of(
        st.from_regex(zones._RULE.pattern, fullmatch=True), st.sampled_from(sorted(zones.names()))
    ),
    "ssh_keys": st.lists(KEY, min_size=1, max_size=2),
    "network": st.dictionaries(
        form("[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"), CARD, min_size=1, max_size=2
    ),
    "wireguard": st.fixed_dictionaries(
        {"addresses": st.lists(TUNNEL, min_size=1, max_size=2),
         "peers": st.lists(PEER, min_size=1, max_size=2),
         "listen_port": st.integers(0, 66000)},
        optional={"private_key_file": WIREGUARD_KEY.map(SecretStr), "mtu": st.integers(1270, 9010),
                  "dns": st.lists(ANY, max_size=2)},
    ),
    "wifi": st.fixed_dictionaries({
        "country": form("[A-Z]{2}"),
        "networks": st.lists(
            st.fixed_dictionaries({
                "ssid": WORD, "passphrase_file": form("[ -~]{8,63}").map(SecretStr),
                "security": st.sampled_from(["wpa2", "wpa3", "wpa2/wpa3"]),
                "hidden": st.booleans(), "priority": st.integers(0, 9),
            }), min_size=1, max_size=2),
    }),
    "lte": st.fixed_dictionaries({"apn": form("[A-Za-z0-9]([A-Za-z0-9.-]{0,98}[A-Za-z0-9])?")},
                                 optional={**LOGIN, "pin_file": form(r"\d{4,8}").map(SecretStr)}),
    "rollout": st.fixed_dictionaries(
        {"token_file": form("[A-Za-z0-9._~+/=-]{1,128}").map(SecretStr)},
        optional={"server": URL, "tenant": form("[A-Za-z0-9._-]{1,64}"),
                  "site": form("[A-Za-z0-9._:-]{1,64}")},
    ),
    "update": st.fixed_dictionaries({
        "url": st.one_of(URL, form("https?://[a-z0-9.]{1,9}(:[0-9]{1,6})?(/[A-Za-z0-9._~/-]{0,600})?"))
    }),
    "proxy": st.fixed_dictionaries(
        {"http": st.builds("http://{}".format, HOST)},
        optional={**LOGIN, "no_proxy": st.lists(form("[A-Za-z0-9.:*/-]{1,20}"), max_size=3)},
    ),
    "registries": st.dictionaries(
        st.one_of(form("[A-Za-z0-9][A-Za-z0-9.-]{0,20}(:[0-9]{1,5})?"), st.just("*")),
        st.fixed_dictionaries(
            {"endpoints": st.lists(URL, max_size=2)}, optional={**LOGIN, "insecure": st.booleans()}
        ), min_size=1, max_size=2),
    "k3s": st.fixed_dictionaries(
        {"server": st.one_of(URL, form("https://gw[a-z0-9]{1,9}:6443")), "token_file": TOKEN},
        optional={
            "role": st.sampled_from(["server", "agent"]), "node_name": NAME,
            "agent_token_file": TOKEN,
            "node_ips": st.lists(ANY, max_size=2, unique_by=lambda text: ":" in text),
            "labels": st.dictionaries(
                form("([a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[a-z0-9])?"),
                form("([A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?)?"), max_size=2),
            "taints": st.lists(form("[a-z]{1,9}(=[a-z]{0,9})?:(NoSchedule|NoExecute)"), max_size=2),
            "config": st.lists(OPTION, max_size=3).map(dict),
        },
    ),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(BASE / "usr/lib/edgeimg", tmp_path / "usr/lib/edgeimg")
    for service in ("wifi", "lte"):
        (tmp_path / "usr/lib/edgeimg/services" / service).mkdir(parents=True)
    for name in ("rollout", "update.conf"):
        (tmp_path / "usr/lib/edgeimg" / name).touch()
    (tmp_path / "usr/share/edgeimg").mkdir(parents=True)
    (tmp_path / "usr/share/edgeimg/card").write_bytes(provisioning.table([]))
    return tmp_path


def complaints(root: Path, found: Files) -> dict[str, Any]:
    """What the gateway says of files, with the settings that they were made of."""
    made: dict[str, Any] = {}
    for number, ((path, content), data) in enumerate(found.items()):
        file = root / "files" / str(number) / path.removeprefix("edgeimg/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        made[str(file)] = data
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", path), path
    result = subprocess.run(
        ["sh", "-c", JUDGE, "judge", *made], env={"ROOT": str(root), "PATH": programs()},
        capture_output=True, text=True, check=True, errors="replace",
    )  # fmt: skip
    assert result.stderr == ""
    lines = (line.partition(": ") for line in result.stdout.splitlines())
    return {f"{file}: {why}": made[file] for file, _, why in lines}


@pytest.mark.parametrize("table", TABLES)
def test_what_the_desk_accepts_the_gateway_accepts(root: Path, table: str) -> None:
    found: Files = {}

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(TABLES[table])
    def gather(value: Any) -> None:
        try:
            made = files(Settings.model_validate({table: value}))
        except ValidationError:
            return
        for path, content in made.items():
            if refused(path, content) is None:
                found.setdefault((path, content), value)

    gather()
    assert len(found) > 20
    assert complaints(root, found) == {}
    # The gateway's check is one: what the desk would never write, it refuses.
    assert len(complaints(root, {(path, b"\xff" + text): 0 for path, text in list(found)[:3]})) == 3


@pytest.mark.parametrize(
    "value",
    [
        {"hostname": "a\n"}, {"ntp": ["a\n"]}, {"k3s": {"node_name": "a\n"}},
        {"k3s": {"server": "https://a:6443\n"}}, {"k3s": {"labels": {"a": "b\n"}}},
        {"network": {"lan\n": {"interface": "e0"}}}, {"network": {"a": {"interface": "e0\n"}}},
        {"network": {"a": {"mac": "52:54:00:00:00:01\n"}}},
        {"network": {"a": {"interface": "e0", "search": ["a\n"]}}},
        {"lte": {"apn": "a\n"}}, {"proxy": {"http": "http://a", "no_proxy": ["a\n"]}},
        {"registries": {"a": {"endpoints": ["https://a\n"]}}}, {"registries": {"a\n": {}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_line_end_behind_a_value_is_part_of_it(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(value)
    Settings.model_validate(without(value))


def test_a_secret_is_not_empty() -> None:
    def token(text: str) -> Settings:
        return Settings.model_validate({"k3s": {"token_file": SecretStr(text)}})

    assert token("abc")
    with pytest.raises(ValidationError):
        token("")


def without(value: Any) -> Any:
    """The same without line ends: the positive control."""
    match value:
        case dict():
            return {key.strip(): without(inner) for key, inner in value.items()}
        case list():
            return [without(inner) for inner in value]
        case _:
            return value.strip() if isinstance(value, str) else value
