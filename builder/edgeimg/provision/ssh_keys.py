"""Public ssh keys, as lines of authorized_keys (sshd(8), RFC 4253 6.6): whole, or what is wrong."""

from __future__ import annotations

import base64
import binascii
import re

_CURVES = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
"""Bytes of a point, uncompressed (SEC 1)."""
_FLAGS = (
    "no-agent-forwarding|no-port-forwarding|no-pty|no-touch-required|no-x11-forwarding|restrict"
    "|verify-required"
)
_OPTION = rf'(?i:{_FLAGS}|(command|permitopen)="(\\"|[^"])*")'
"""Options of the ssh server of gateways (dropbear 2025.89). It refuses a key that has another."""
_UNKNOWN = (
    "agent-forwarding|environment|expiry-time|from|no-user-rc|permitlisten|port-forwarding"
    "|principals|pty|tunnel|user-rc|x11-forwarding"
)
"""Further options of OpenSSH."""
_LINE = re.compile(
    rf"((?P<options>{_OPTION}(,{_OPTION})*)[ \t]+)?"
    r"(?P<type>ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)"
    r"|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r"[ \t]+(?P<data>[A-Za-z0-9+/]+=*)([ \t]+(?P<comment>.*))?"
)
_LONGEST = 4000
"""Bytes of a line. Dropbear skips longer ones (MAX_AUTHKEYS_LINE)."""
_LEAST_RSA = 128
"""Bytes of a modulus."""


def fault(line: str) -> str | None:
    """What is wrong with a line of authorized_keys; None for a whole key. It is not repeated."""
    match = _LINE.fullmatch(line)
    if match is None:
        return _other(line)
    if len(line.encode()) > _LONGEST:
        return f"expected at most {_LONGEST} bytes in a line: shorten its comment"
    try:
        fields = _fields(base64.b64decode(match["data"], validate=True))
    except (ValueError, binascii.Error):
        return "the key is cut off, or a letter of it is missing: copy its whole line"
    if not fields or fields[0] != match["type"].encode():
        return f"the key is not one of the type {match['type']}"
    if _is_whole(match["type"], fields[1:]):
        return None
    return "the key is cut off, or too short: copy its whole line"


def canonical(line: str) -> str:
    """A whole key with one blank between its parts, as dropbear expects them; no tabs."""
    match = _LINE.fullmatch(line.strip())
    parts = match.group("options", "type", "data", "comment") if match else (line,)
    return " ".join(part.strip() for part in parts if part)


def _other(line: str) -> str:
    """What a line is that is no key."""
    if line.startswith(("github:", "gitlab:", "http:", "https:", "gh:")):
        return "expected a public ssh key: gateways do not fetch keys"
    if "PRIVATE KEY" in line:
        return "expected a public ssh key, and this is a private one: name *.pub"
    if line.startswith("ssh-dss"):
        return "expected a key of another type: ssh-dss is not accepted any more"
    if "-cert-v01@" in line:
        return "expected a public ssh key, and this is a certificate"
    if found := re.match(rf"({_OPTION},)*(?P<name>(?i:{_UNKNOWN}))[=, \t]", line):
        return (
            f"the ssh server of gateways refuses a key with the option '{found['name'].lower()}': "
            f"leave it out; it has {_FLAGS.replace('|', ', ')}, command and permitopen"
        )
    if re.match(r"(.*,)?cert-authority[ ,]", line):
        return "expected a public ssh key: authorities of certificates are not supported"
    if "SSH2 PUBLIC KEY" in line:
        return "expected a public ssh key in one line: ssh-keygen -i -f FILE prints it"
    return "expected a public ssh key, such as 'ssh-ed25519 AAAA… name'"


def _fields(blob: bytes) -> list[bytes]:
    """The strings of a blob, each behind its length (RFC 4251 5). Raises ValueError."""
    found, at = [], 0
    while at < len(blob):
        length = int.from_bytes(blob[at : at + 4], "big")
        at += 4
        if at + length > len(blob):
            raise ValueError
        found.append(blob[at : at + length])
        at += length
    return found


def _is_whole(kind: str, rest: list[bytes]) -> bool:
    sizes = [len(field) for field in rest]
    curve = re.search("nistp[0-9]+", kind)
    match kind:
        case "ssh-ed25519":
            return sizes == [32]
        case "ssh-rsa":
            return len(sizes) == 2 and sizes[0] > 0 and sizes[1] >= _LEAST_RSA
        case "sk-ssh-ed25519@openssh.com":
            return len(sizes) == 2 and sizes[0] == 32 and sizes[1] > 0
    name = curve[0] if curve else ""
    is_point = len(sizes) >= 2 and rest[0] == name.encode() and sizes[1] == _CURVES[name]
    return is_point and (len(sizes) == 3 if kind.startswith("sk-") else len(sizes) == 2)
