"""The shape of secrets: words that they start with, and a pattern for the bytes after these.

A detector's anchors are searched for byte by byte in hundreds of megabytes, so they are few and
literal; what is slow looks only at the hits. Detectors of text see no binaries.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from edgeimg.check import private_keys

Judge = Callable[[bytes], str | None]
"""Takes the bytes from a hit on; returns what the secret is, or None for a false alarm."""


@dataclass(frozen=True, kw_only=True)
class Detector:
    """One kind of secret."""

    rule: str
    anchor: bytes
    judge: Judge
    word: bool = False
    """The anchor must not continue a longer word."""


@dataclass(frozen=True, kw_only=True)
class TextDetector:
    """A kind of secret that only text files hold, in certain places."""

    rule: str
    pattern: re.Pattern[bytes]
    what: str
    where: re.Pattern[str] = re.compile(r"")
    """Searched in the path."""
    needs: re.Pattern[bytes] = re.compile(rb"")
    """Searched in the whole text."""


def _shape(pattern: bytes, title: str, *, but: bytes = rb"(?!)") -> Judge:
    """A judge with a regular expression. A match of `but` marks an example."""
    shape, example = re.compile(pattern), re.compile(but)

    def judge(window: bytes) -> str | None:
        match = shape.match(window)
        return title if match and not example.search(match[0]) else None

    return judge


def _web_token(window: bytes) -> str | None:
    """RFC 7519: two parts of JSON and a signature, in base64 for addresses."""
    match = re.match(rb"(eyJ[\w-]{8,400})\.eyJ[\w-]{8,8000}\.[\w-]{20,2000}", window)
    if match is None:
        return None
    try:
        header = json.loads(base64.urlsafe_b64decode(match[1] + b"=" * (-len(match[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    return "a JSON web token" if isinstance(header, dict) and "alg" in header else None


_CRYPT = _shape(
    rb"\$(?:(?:1|apr1)\$[./\w]{1,8}\$[./\w]{22}"
    rb"|5\$(?:rounds=\d+\$)?[./\w]{1,16}\$[./\w]{43}"
    rb"|6\$(?:rounds=\d+\$)?[./\w]{1,16}\$[./\w]{86}"
    rb"|g?y\$[./\w]{2,20}\$[./\w]{1,90}\$[./\w]{43}"
    rb"|2[abxy]\$\d\d\$[./\w]{53}"
    rb"|argon2(?:id|i|d)\$v=\d+\$m=[\d,tp=]+\$[\w+/]{11,90}\$[\w+/]{21,90}"
    rb"|scrypt\$ln=[\d,rp=]+\$[\w+/.]{11,90}\$[\w+/.]{21,90})(?![./\w])",
    "a password's hash",
)
"""crypt(5), and what Apache, bcrypt and the PHC string format add."""

ANYWHERE: tuple[Detector, ...] = (
    Detector(rule="private-key", anchor=b"-----BEGIN ", judge=private_keys.pem),
    Detector(rule="private-key", anchor=b"LS0tLS1CRUdJTi", judge=private_keys.encoded_pem),
    Detector(
        rule="private-key",
        anchor=b"AGE-SECRET-KEY-1",
        judge=_shape(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}(?![0-9A-Z])", "an age private key"),
    ),
    Detector(
        rule="token",
        anchor=b"K10",
        word=True,
        judge=_shape(rb"K10[0-9a-f]{64}::\w+:?[!-~]{4,}", "a K3s token"),
    ),
    Detector(rule="token", anchor=b"eyJ", word=True, judge=_web_token),
    Detector(
        rule="token",
        anchor=b"AKIA",
        word=True,
        judge=_shape(
            rb"AKIA[A-Z2-7]{16}(?![\w+/=])", "an AWS access key", but=rb"EXAMPLE|AKIA(.)\1{6}"
        ),
    ),
    Detector(
        rule="token",
        anchor=b"ghp_",
        word=True,
        judge=_shape(rb"ghp_[0-9A-Za-z]{36}(?!\w)", "a GitHub token"),
    ),
    Detector(
        rule="token",
        anchor=b"glpat-",
        word=True,
        judge=_shape(rb"glpat-[\w-]{20,}", "a GitLab token"),
    ),
)
CRYPT = Detector(rule="password-hash", anchor=b"$", judge=_CRYPT)
CRYPT_START = re.compile(rb"\$(?:1|5|6|g?y|apr1|2[abxy]|argon2(?:id|i|d)|scrypt)\$")


def _text(
    rule: str, pattern: bytes, title: str, *, where: str = "", needs: bytes = b""
) -> TextDetector:
    return TextDetector(
        rule=rule,
        pattern=re.compile(pattern, re.MULTILINE),
        what=title,
        where=re.compile(where),
        needs=re.compile(needs),
    )


_VALUE = rb"[\"']?(?![\"'\s]|\$|<|\{\{|#)\S{4,}"
"""A literal value: no variable, no placeholder, not empty."""

IN_TEXT: tuple[TextDetector, ...] = (
    _text("private-key", rb"^PuTTY-User-Key-File-\d: .*(?:\n.*){1,60}^Private-Lines: \d",
          "a PuTTY private key"),
    _text("private-key", rb"^[ \t]*PrivateKey\s*=\s*[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\s*$",
          "a WireGuard private key"),
    _text("private-key", rb"\"d\"\s*:\s*\"[\w-]{20,}\"", "a JSON web key", needs=rb"\"kty\"\s*:"),
    _text("password-hash", rb"\{S?SHA(?:256|512)?\}[A-Za-z0-9+/]{27,120}={0,2}",
          "a password's hash"),
    _text("token", rb"\bK3S_(?:AGENT_)?TOKEN=" + _VALUE, "a K3s token"),
    _text("token", rb"^[ \t]*[\"']?(?:agent-)?token[\"']?[ \t]*:[ \t]*" + _VALUE, "a K3s token",
          where=r"rancher/k3s/config\.yaml"),
    _text("token", rb"^[ \t]*(?:- )?[\"']?(?:token|password)[\"']?\s*:\s*" + _VALUE,
          "a kubeconfig's credentials",
          needs=rb"(?:^|[\s\"'])kind[\"']?\s*:\s*[\"']?Config(?:[\"'\s,]|$)"),
    _text("token",
          rb"^[ \t]*(?:data|stringData):[ \t]*\n(?:[ \t]+#.*\n)*[ \t]+[\w.-]+:[ \t]*" + _VALUE,
          "a Kubernetes Secret", needs=rb"(?m)^kind:[ \t]*Secret[ \t]*$"),
    _text("token", rb"(?i)\bauthorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+[\w.~+/=-]{12,}",
          "credentials for HTTP"),
    _text("token", rb"(?i)aws_secret_access_key\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}\b",
          "an AWS secret key"),
    _text("token", rb"\b(?:gh[ousr]_[0-9A-Za-z]{36}|github_pat_\w{60,}|xox[abeprs]-[\w-]{20,})\b",
          "an access token"),
    _text("token", rb"[\"']?\b(?:auth|password|identity_?token)[\"']?\s*[:=]\s*" + _VALUE,
          "a registry's credentials",
          where=r"(?:rancher/k3s/registries\.yaml|containerd/.*\.toml"
          r"|\.docker/config\.json|containers/auth\.json)$"),
    _text("token", rb"^[ \t]*(?:psk|wep[-_]key\d|password|Passphrase|PreSharedKey)\s*=\s*" + _VALUE,
          "a network's password",
          where=r"(?:wpa_supplicant.*\.conf|\.nmconnection|iwd/.*\.(?:psk|8021x))$"),
    _text("token", rb"\b[a-z][a-z0-9+.-]{1,15}://[^\s:/@\"'<>$\{}]{1,64}:[^\s/@\"'<>$\{}]{3,128}@[\w\[]",
          "an address with a password", where=r"^(?:etc|usr/local|opt|srv|root|home|var)/|\.env$"),
)  # fmt: skip
