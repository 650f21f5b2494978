"""The ports on which a running guest listens, against those that the recipe names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

from edgeimg.check.findings import Finding, finding

PATH = "check.listening"
"""The recipe's key that names the ports."""
_SOCKET = re.compile(r"(tcp|udp)6? (.+):(\d+)")


def check(listening: Iterable[str], allowed: Sequence[str]) -> list[Finding]:
    """One finding for each port that is open to others and is not allowed.

    `listening` is the guest's report: `tcp 0.0.0.0:6443`, `tcp6 [::]:10250`. `allowed` is the
    recipe's: `6443/tcp`, `30000-32767/tcp`. What listens on the loopback interface only is out
    of reach of the network, and of the pods.
    """
    ports: dict[tuple[str, int], set[str]] = {}
    for socket in listening:
        match = _SOCKET.fullmatch(socket)
        if match and not _is_loopback(match[2]):
            ports.setdefault((match[1], int(match[3])), set()).add(match[2])
    return [
        finding(
            "listening",
            PATH,
            f"the guest listens on {port}/{protocol} of {', '.join(sorted(addresses))}",
            f'end what listens there, or add "{port}/{protocol}" to [check] listening',
            item=f"{port}/{protocol}",
        )
        for (protocol, port), addresses in sorted(ports.items())
        if not any(_allows(entry, protocol, port) for entry in allowed)
    ]


def _allows(entry: str, protocol: str, port: int) -> bool:
    ports, _, entry_protocol = entry.partition("/")
    first, _, last = ports.partition("-")
    return entry_protocol == protocol and int(first) <= port <= int(last or first)


def _is_loopback(address: str) -> bool:
    text = address.strip("[]")
    if re.fullmatch(r"[0-9a-f]{32}", text):
        # As /proc/net/tcp6 has it: four words in the machine's (little-endian) order.
        words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, 32, 8)]
        text = str(ipaddress.IPv6Address(b"".join(words)))
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
