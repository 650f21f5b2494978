"""Secrets are found wherever they hide, and words about them are not."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
import zstandard
from edgeimg.arch import X86_64
from edgeimg.check import private_keys, secrets, streams
from edgeimg.check.findings import Finding
from edgeimg.sources import oci
from edgeimg.tree import Tree, file
from hypothesis import given
from hypothesis import strategies as st

from tests import keys, samples

FENCE = "-----"


def found(content: bytes | str, path: str = "etc/some.conf") -> list[Finding]:
    data = content.encode() if isinstance(content, str) else content
    return secrets.check(Tree().with_nodes({path: file(data)}))


def rules(content: bytes | str, path: str = "etc/some.conf") -> list[str]:
    return [finding.rule for finding in found(content, path)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (keys.pem(keys.rsa(), "RSA PRIVATE KEY"), "RSA private key"),
        (keys.pem(keys.rsa(16384), "RSA PRIVATE KEY"), "RSA private key"),
        (keys.pem(keys.pkcs8()), "private key"),
        (keys.pem(keys.ec(), "EC PRIVATE KEY"), "EC private key"),
        (keys.pem(keys.openssh(), "OPENSSH PRIVATE KEY"), "OPENSSH private key"),
        (keys.pem(keys.encrypted_pkcs8(), "ENCRYPTED PRIVATE KEY"), "encrypted private key"),
        (
            keys.pem(
                keys.noise("cipher", 600),
                "RSA PRIVATE KEY",
                headers="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF\n\n",
            ),
            "encrypted RSA private key",
        ),
        (keys.pem(b"\x95" + keys.noise("pgp", 300), "PGP PRIVATE KEY BLOCK"), "PGP private key"),
        (base64.b64encode(keys.pem(keys.ec(), "EC PRIVATE KEY")), "EC private key, in base64"),
        (keys.pkcs8(), "private key"),
        (keys.rsa(), "RSA private key"),
        (keys.ec(), "EC private key"),
        (keys.encrypted_pkcs8(), "encrypted private key"),
        (keys.pkcs12(), "PKCS #12 key store"),
        (b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + keys.noise("dropbear", 64), "ssh-ed25519 host key"),
        ("AGE-SECRET-KEY-1" + "Q" * 58, "an age private key"),
        (f"[Interface]\nPrivateKey = {'A' * 42}E=\n", "a WireGuard private key"),
        ('{"kty":"OKP","crv":"Ed25519","d":"%s"}' % ("x" * 43), "a JSON web key"),
        (
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 1\nAAAA\n"
            "Private-Lines: 1\nBBBB\n",
            "a PuTTY private key",
        ),
    ],
)
def test_private_keys(content: bytes | str, told: str) -> None:
    (finding,) = found(content)
    assert (finding.rule, finding.path) == ("private-key", "etc/some.conf")
    assert told in finding.message
    assert finding.fix


@pytest.mark.parametrize("ending", ["\\n", "\r\n", "\n      "])
def test_private_keys_in_other_texts(ending: str) -> None:
    """In JSON, from Windows, and indented in YAML."""
    text = keys.pem(keys.pkcs8()).decode().replace("\n", ending)
    assert rules(f"key: |\n      {text}") == ["private-key"]


@pytest.mark.parametrize(
    "content",
    [
        keys.pem(keys.certificate(), "CERTIFICATE"),
        keys.pem(keys.noise("public", 91), "PUBLIC KEY"),
        keys.pem(keys.certificate(), "PRIVATE KEY"),  # the shape inside counts
        keys.certificate(),
        f"{FENCE}BEGIN RSA PRIVATE KEY{FENCE}\n...\n{FENCE}END RSA PRIVATE KEY{FENCE}\n",
        f"{FENCE}BEGIN PRIVATE KEY{FENCE}\nMIIEvQIBADANBg\n<cut>\n{FENCE}END PRIVATE KEY{FENCE}\n",
        f"\0{FENCE}BEGIN RSA PRIVATE KEY{FENCE}\0{FENCE}END RSA PRIVATE KEY{FENCE}\0",
        keys.pem(keys.rsa(), "RSA TESTING KEY"),
        "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes(36)).decode(),
        "PrivateKey=@network.wireguard.key",
        '{"kty":"OKP","crv":"Ed25519","x":"abcdefghijklmnopqrstuvwxyz"}',
        "0" * 40,
    ],
)
def test_words_about_keys(content: bytes | str) -> None:
    assert found(content) == []


@pytest.mark.parametrize(
    "text",
    [
        keys.sha512crypt(),
        f"$6$rounds=5000$salt${keys.base64_text('a', 86)}",
        f"$5$salt${keys.base64_text('b', 43)}",
        f"$1$salt${keys.base64_text('c', 22)}",
        f"$apr1$saltsalt${keys.base64_text('d', 22)}",
        f"$y$j9T${keys.base64_text('e', 22)}${keys.base64_text('f', 43)}",
        f"$2b$12${keys.base64_text('g', 53)}",
        "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0" + "$" + "x" * 43,
        "{SSHA}" + base64.b64encode(keys.noise("ldap", 24)).decode(),
    ],
)
@pytest.mark.parametrize("form", ["{}", "admin:{}\n", 'password = "{}"\n'])
def test_password_hashes(text: str, form: str) -> None:
    assert rules("# comment\n" + form.format(text)) == ["password-hash"]


def test_the_line_of_a_hash_is_told() -> None:
    (finding,) = found(f"# one\n# two\nadmin:{keys.sha512crypt()}\n", "etc/htpasswd")
    assert "line 3" in finding.message


def test_hashes_and_keys_in_programs() -> None:
    program = samples.elf(X86_64) + b"\0" * 64
    secret = b"\0" + keys.sha512crypt().encode() + b"\0"
    assert rules(program + secret, "usr/bin/tool") == ["password-hash"]
    embedded = program + keys.pem(keys.pkcs8()) + b"\0"
    assert rules(embedded, "usr/bin/tool") == ["private-key"]


@pytest.mark.parametrize(
    ("path", "line", "expected"),
    [
        ("etc/shadow", f"root:{keys.sha512crypt()}:20000::::::", ["password-hash"]),
        ("etc/shadow", f"root:!{keys.sha512crypt()}:20000::::::", ["password-hash"]),
        ("etc/shadow", "root::20000::::::", ["password-hash"]),
        ("etc/shadow", "root:!*:::::::", []),
        ("etc/passwd", "root::0:0::/root:/bin/sh", ["password-hash"]),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh", []),
        ("usr/share/doc/shadow", "root::0:0::/root:/bin/sh", []),
    ],
)
def test_accounts(path: str, line: str, expected: list[str]) -> None:
    assert rules(f"{line}\n", path) == expected


K3S = "etc/rancher/k3s/config.yaml"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("var/lib/rancher/k3s/server/node-token", keys.k3s_token()),
        ("usr/lib/setup.sh", f"export K3S_TOKEN={keys.k3s_token()}"),
        ("usr/lib/setup.sh", "K3S_TOKEN=swordfish k3s agent"),
        (K3S, '{\n  "server": "https://10.0.0.1:6443",\n  "token": "swordfish"\n}\n'),
        (K3S, "agent-token: swordfish\n"),
        ("etc/rancher/k3s/config.yaml.d/10-site.yaml", "token: 'swordfish'\n"),
        ("etc/some/token", keys.web_token()),
        ("root/.kube/config", "kind: Config\nusers:\n- name: a\n  user:\n    token: swordfish\n"),
        (
            "root/.kube/config",
            '{"kind": "Config",\n "users": [{"user":\n{\n"token": "swordfish"}}]}',
        ),
        ("usr/share/x.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {}\ndata:\n  a: c3dvcmQ=\n"),
        ("etc/curlrc", "header = Authorization: Bearer abcdefghijklmnop0123\n"),
        ("root/.aws/credentials", f"aws_access_key_id = {keys.aws_key()}\n"),
        ("root/.aws/credentials", f"aws_secret_access_key = {'a1B2' * 10}\n"),
        ("etc/gitlab", "glpat-" + "aB3" * 7),
        ("etc/github", "ghp_" + "aB3" * 12),
        (
            "etc/rancher/k3s/registries.yaml",
            "configs:\n  r:\n    auth:\n      password: swordfish\n",
        ),
        ("root/.docker/config.json", '{"auths": {"r": {"auth": "YTpzd29yZGZpc2g="}}}'),
        ("etc/wpa_supplicant/wpa_supplicant.conf", 'network={\n  psk="swordfish"\n}\n'),
        ("etc/app.conf", "url = postgres://app:swordfish@db.example:5432/app\n"),
    ],
)
def test_tokens(path: str, text: str) -> None:
    (finding,) = found(text, path)
    assert (finding.rule, finding.path) == ("token", path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("usr/lib/setup.sh", 'K3S_TOKEN="$TOKEN" K3S_TOKEN=${TOKEN} K3S_TOKEN='),
        ("usr/lib/setup.sh", "K10" + "0" * 64),
        (K3S, "token-file: /var/lib/edgeimg/token\nserver: https://10.0.0.1:6443\n"),
        ("usr/share/pod.yaml", "kind: Pod\nspec:\n  token: none-of-your-business\n"),
        ("usr/share/map.yaml", "kind: ConfigMap\ndata:\n  a: b0123456\n"),
        ("usr/share/x.yaml", "kind: Secret\nmetadata: {}\n"),
        ("usr/share/doc", "AKIAIOSFODNN7EXAMPLE xAKIA234567ABCDEFGHIJ"),
        ("usr/share/doc", "eyJhbGciOiJub25lIn0 is not a token, eyJub3QiOiJqd3QifQ.eyJ4IjoxfQ.x"),
        ("etc/app.conf", "url = https://user:$PASSWORD@db.example/ http://[::1]:8080/ a@b:c\n"),
        ("usr/share/doc/url", "https://user:password@example.org/"),
    ],
)
def test_words_about_tokens(path: str, text: str) -> None:
    assert found(text, path) == []


def test_one_finding_for_many_keys_of_a_file() -> None:
    (finding,) = found(keys.pem(keys.pkcs8()) + keys.pem(keys.ec(), "EC PRIVATE KEY"))
    assert "and 1 more" in finding.message
    assert "line 1" in finding.message


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_key_in_a_container_image() -> None:
    tree = Tree().with_nodes({"etc/ssl/server.key": file(keys.pem(keys.pkcs8()))})
    made = oci.ContainerImage(name="x", tree=tree, run={"Entrypoint": ["/x"]})
    image = oci.archive([made], X86_64, 0).data
    (finding,) = found(image, "usr/share/edgeimg/images/x.tar")
    assert finding.path == "usr/share/edgeimg/images/x.tar"
    assert finding.item.startswith("blobs/sha256/")
    assert finding.item.endswith("!etc/ssl/server.key")


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.compress, lambda data: data],
    ids=["gzip", "bzip2", "xz", "zstd", "plain"],
)
def test_a_key_in_archives_in_archives(pack: object) -> None:
    assert callable(pack)
    inner = pack(tar({"a.txt": b"x" * 100_000, "root/.ssh/id": keys.pem(keys.openssh(),
                      "OPENSSH PRIVATE KEY")}))  # fmt: skip
    outer = pack(tar({"./first": b"nothing", "layer.tar": inner, "last": b"nothing"}))
    (finding,) = found(outer, "usr/share/x.tar")
    assert (finding.rule, finding.item) == ("private-key", "layer.tar!root/.ssh/id")
    (finding,) = found(zipped({"dir/layer": inner}), "usr/share/x.zip")
    assert finding.item == "dir/layer!root/.ssh/id"


def test_streams_in_a_row() -> None:
    packed = gzip.compress(b"first\n") + gzip.compress(keys.pem(keys.pkcs8())) + bytes(512)
    assert rules(packed) == ["private-key"]


def test_damaged_archives_are_told() -> None:
    whole = gzip.compress(tar({"a": keys.noise("a", 100_000), "b": keys.noise("b", 100_000)}))
    (finding,) = found(whole[:90_000], "usr/share/x.tar.gz")
    assert (finding.rule, finding.severity) == ("unread-archive", "warning")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    assert rules(bytes(flipped)) == ["unread-archive"]


def test_archives_too_deep_and_too_large_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    data = keys.pem(keys.pkcs8())
    for _ in range(streams.DEEPEST):
        data = gzip.compress(data)
    assert rules(data) == ["private-key"]
    (finding,) = found(gzip.compress(data))
    assert "deep" in finding.message
    monkeypatch.setattr(streams, "MOST", 1 << 20)
    (finding,) = found(gzip.compress(bytes(2 << 20)))
    assert "unpacks to more than 1 MiB" in finding.message


@given(st.binary(max_size=3000))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    for start in (b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh9", b"0\x82", b"-----BEGIN "):
        found(start + data)
        private_keys.der(start + data)


@pytest.mark.parametrize("offset", [-700, -30, -1, 0, 1])
def test_keys_across_pieces(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read in pieces, and a key may be in two of them."""
    monkeypatch.setattr(secrets, "_CHUNK", 1 << 16)
    key = keys.pem(keys.rsa(), "RSA PRIVATE KEY")
    for pieces in (1, 2, 3):
        before = b"\0" * ((pieces << 16) + offset)
        (finding,) = found(before + key + b"\0" * 100_000, "usr/bin/x")
        assert "more" not in finding.message


def test_long_files_take_no_long_time() -> None:
    """No pattern looks at a byte again and again: these would take hours."""
    for content in (b"\n" * 3_000_000, b" " * 3_000_000, b"token:" * 500_000, b"$6$" * 1_000_000):
        found(content, "etc/rancher/k3s/config.yaml")
    lines = f"a:{keys.sha512crypt()}\n".encode() * 30_000
    (finding,) = found(lines, "etc/htpasswd")
    assert finding.line == 1
    assert "29999 more" in finding.message


def test_names_of_members_that_are_no_text() -> None:
    (finding,) = found(tar({"a\udcff.pem": keys.pem(keys.pkcs8())}), "usr/x.tar")
    assert finding.item == "a\\udcff.pem"


def test_zip_bombs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST", 1 << 20)
    assert rules(zipped({"x": bytes(2 << 20)})) == ["unread-archive"]
