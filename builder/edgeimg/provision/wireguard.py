"""[wireguard] of the settings: the tunnel that a gateway is reached through, behind NAT too."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Self

from pydantic import Field, SecretStr, model_validator

from edgeimg.provision.addresses import Address, Destination, InterfaceAddress, PeerEndpoint
from edgeimg.provision.networks import Interface, require_of_a_host
from edgeimg.provision.values import PresharedKeyFile, PrivateKeyFile, PublicKey
from edgeimg.text.validation import Table

DEVICE = "wg0"
"""The device on the gateway."""
_LEAST_V6 = 1280
"""MTU that IPv6 needs (RFC 8200, 5)."""


class Peer(Table):
    """The other end of the tunnel, or one of several."""

    public_key: PublicKey = Field(description="its public key, as `wg pubkey` prints it")
    preshared_key: PresharedKeyFile | None = Field(
        None, alias="preshared_key_file",
        description="file with the key that both ends share besides, a secret: `wg genpsk`",
    )  # fmt: skip
    endpoint: PeerEndpoint | None = Field(
        None,
        description="where it is reached: 'vpn.example.org:51820', '[2001:db8::1]:51820'; without "
        "it, it has to call this gateway",
    )
    allowed_ips: tuple[Destination, ...] = Field(
        min_length=1,
        description="networks behind it: packets to them go to it, and packets of it that come "
        "from others are dropped",
    )
    keepalive: int | None = Field(
        None, ge=1, le=65535,
        description="seconds between two packets that keep a NAT open: 25 for a gateway behind one",
    )  # fmt: skip


class Wireguard(Table):
    """A WireGuard tunnel; its device is wg0."""

    private_key: PrivateKeyFile | None = Field(
        None, alias="private_key_file",
        description="file with the gateway's private key, a secret. Without it the gateway makes "
        "one that never leaves it, and shows the public key: `edgeimg-status`",
    )  # fmt: skip
    addresses: tuple[InterfaceAddress, ...] = Field(
        min_length=1, description="of the gateway in the tunnel, with their prefix: '10.8.0.2/24'"
    )
    listen_port: int | None = Field(
        None, ge=1, le=65535, description="UDP port that peers call; by default a random one"
    )
    dns: tuple[Address, ...] = Field((), description="name servers that are asked, too")
    mtu: int | None = Field(
        None, ge=576, le=9000,
        description="largest packet in the tunnel, in bytes; by default 1420. 1280 is the least "
        "with IPv6",
    )  # fmt: skip
    peers: tuple[Peer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_one_use_for_each_key(self) -> Self:
        used: dict[str, tuple[str, str]] = {}
        for place, use, key in self._keys():
            other, before = used.setdefault(key, (place, use))
            if other == place or before == use == "preshared":
                continue
            if before == use:
                raise ValueError(f"{place}: is the public key of {other.rpartition('.')[0]}, too")
            raise ValueError(f"{place}: is the same key as {other}: each key has one use")
        return self

    def _keys(self) -> Iterator[tuple[str, str, str]]:
        """Where each key stands, what it is for, and the key."""
        if self.private_key is not None:
            yield "private_key_file", "private", self.private_key.get_secret_value()
        for number, peer in enumerate(self.peers):
            yield f"peers.{number}.public_key", "public", peer.public_key
            if isinstance(peer.preshared_key, SecretStr):
                shared = peer.preshared_key.get_secret_value()
                yield f"peers.{number}.preshared_key_file", "preshared", shared

    @model_validator(mode="after")
    def _has_addresses_of_its_own(self) -> Self:
        for number, text in enumerate(self.addresses):
            here = ipaddress.ip_interface(text)
            require_of_a_host(f"addresses.{number}", here)
            if any(ipaddress.ip_interface(one).ip == here.ip for one in self.addresses[:number]):
                raise ValueError(f"addresses.{number}: {here.ip} is there twice")
            if self.mtu is not None and here.version == 6 and self.mtu < _LEAST_V6:
                raise ValueError(f"mtu: expected {_LEAST_V6} at least: {here} is of IPv6")
        return self

    @model_validator(mode="after")
    def _reaches_its_peers(self) -> Self:
        behind: list[tuple[int, Interface]] = []
        for number, peer in enumerate(self.peers):
            if peer.endpoint is None and self.listen_port is None:
                raise ValueError(
                    f"peers.{number}: expected 'endpoint', where it is called; or 'listen_port', "
                    "where it calls this gateway"
                )
            for text in peer.allowed_ips:
                network = ipaddress.ip_interface(text)
                if network.network.prefixlen == 0:
                    raise ValueError(
                        f"peers.{number}.allowed_ips: {text} is everything: name the networks "
                        "behind the peer"
                    )
                for other, one in behind:
                    if other != number and _overlap(one, network):
                        raise ValueError(
                            f"peers.{number}.allowed_ips: {text} overlaps {one} of peers.{other}"
                        )
                behind.append((number, network))
        for number, peer in enumerate(self.peers):
            host = _literal(peer.endpoint or "")
            if host and any(_overlap(one, host) for _, one in behind):
                raise ValueError(
                    f"peers.{number}.endpoint: {host.ip} is in 'allowed_ips': it would be called "
                    "through the tunnel itself"
                )
        return self

    def networks(self) -> tuple[str, ...]:
        """All that is routed by the tunnel: own addresses and networks behind peers."""
        return (*self.addresses, *(text for peer in self.peers for text in peer.allowed_ips))


def _literal(endpoint: str) -> Interface | None:
    """The host of an endpoint that is an address."""
    try:
        return ipaddress.ip_interface(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


def _overlap(one: Interface, other: Interface) -> bool:
    return one.version == other.version and one.network.overlaps(other.network)
