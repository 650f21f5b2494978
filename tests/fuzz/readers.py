"""What is fuzzed: each reader of files of others, its inputs to begin with, and its errors."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import re
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import zstandard
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.cve import cve
from edgeimg.errors import (
    ArchitectureError,
    ArchiveError,
    DigestError,
    EdgeimgError,
    ImageError,
    LockError,
    MachineError,
    ProvisionError,
    RecipeError,
)
from edgeimg.fleet import reading as fleet
from edgeimg.hardware import reading
from edgeimg.image import blockmap
from edgeimg.image.manifest import Manifest
from edgeimg.lock.file import read_lock
from edgeimg.provision import nocloud, rendering
from edgeimg.provision import reading as settings
from edgeimg.services import image
from edgeimg.sources import archive, deb, k3s, k3s_airgap, oci_archive
from edgeimg.streams import decoding
from edgeimg.tree import Node
from edgeimg.workloads import manifests

from tests.fake_k3s import FakeK3s
from tests.fuzz import texts
from tests.release_facts import manifest
from tests.samples import Member, ar, deb_bytes, member, tar

CUT = b"\n=====\n"
"""Between the parts of an input of several files."""
_BLOCK = tarfile.BLOCKSIZE
_CONTROL = tar([member("./control", b"Package: sample\nVersion: 1.0\nArchitecture: all\n")])
_PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstandard.ZstdCompressor(level=1).compress,
}


def _same(data: bytes, _: Random) -> bytes:
    return data


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader, and how its inputs are made."""

    seeds: Callable[[], list[bytes]]
    """Sound inputs; what is changed."""
    read: Callable[[Path, Path], object]
    """Reads the file; the second path is an empty directory for results."""
    errors: tuple[type[EdgeimgError], ...]
    """What it may raise."""
    wrap: Callable[[bytes, Random], bytes] = _same
    """A changed input → the file: repairs digests and sizes, compresses."""
    tokens: tuple[bytes, ...] = ()
    """Words of the format."""


def words(seeds: Iterable[bytes]) -> tuple[bytes, ...]:
    """The words and signs of texts, to put in other places."""
    found = {word for seed in seeds for word in re.findall(rb"[A-Za-z_]{3,}|[^\w\s]+", seed)}
    return tuple(sorted(found))


# Archives


def with_sums(data: bytes) -> bytes:
    """A tar with the check sum of each header as its bytes demand."""
    out = bytearray(data)
    for at in range(0, len(out) - _BLOCK + 1, _BLOCK):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + _BLOCK])
    return bytes(out)


def _files() -> list[Member]:
    return [
        member("./", type=tarfile.DIRTYPE, mode=0o755),
        member("./usr/bin/tool", b"#!/bin/sh\n", mode=0o4755),
        member("./usr/bin/alias", type=tarfile.SYMTYPE, link="tool"),
        member("./usr/bin/hard", type=tarfile.LNKTYPE, link="./usr/bin/tool"),
        member("./etc/" + "long" * 40, b"x=1\n"),
    ]


def _pax() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for info, content in _files():
            info.pax_headers = {"SCHILY.xattr.user.x": "1", "comment": "größe"}
            made.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _tars() -> list[bytes]:
    return [tar(_files()), _pax()]


def _tar(data: bytes, random: Random) -> bytes:
    return with_sums(data) if random.random() < 0.9 else data


def _read_tar(path: Path, _: Path) -> object:
    return _contents(archive.tar_nodes(path, "x").values())


def _contents(nodes: Iterable[Node]) -> int:
    return sum(len(node.read()) for node in nodes if node.content is not None)


def _debs() -> list[bytes]:
    return [*_tars(), deb_bytes(_files(), conffiles="/etc/x\n")]


def _deb(data: bytes, random: Random) -> bytes:
    if data.startswith(b"!<arch>"):
        return data
    suffix = random.choice(list(_PACKED))
    packed = _PACKED[suffix](with_sums(data))
    plain = {"debian-binary": b"2.0\n", "control.tar": _CONTROL, f"data.tar{suffix}": packed}
    return ar(plain)


def _read_deb(path: Path, directory: Path) -> object:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = deb.read(path, digest, store=Store(directory), origin="x")
    return _contents(node for _, node in found.tree.items())


def _streams() -> list[bytes]:
    data = bytes(range(256)) * 40
    packed = [pack(data) for pack in _PACKED.values()]
    return [*packed[1:], bz2.compress(data), lzma.compress(data, format=lzma.FORMAT_ALONE)]


def _read_stream(path: Path, _: Path) -> object:
    size = path.stat().st_size
    with path.open("rb") as file:
        method = decoding.recognise(file.read(6))
        file.seek(0)
        return sum(map(len, decoding.pieces(file, "x", method=method, packed=size)))


# Container images and K3s


def _images() -> list[bytes]:
    config = {
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:@layer-digest"]},
        "config": {"Entrypoint": ["/x"], "Env": ["A=b"], "User": "1:2", "WorkingDir": "/srv"},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor("config", "config.v1+json"),
        "layers": [_descriptor("packed", "layer.v1.tar+gzip")],
    }  # fmt: skip
    platform = {"architecture": "amd64", "os": "linux"}
    row = _descriptor("manifest", "manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [{**row, "platform": platform}]}
    save = [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]
    layer = tar([*_files(), member(".wh.gone"), member("a/.wh..wh..opq")])
    documents = [json.dumps(part).encode() for part in (index, manifest, config, save)]
    return [CUT.join([*documents, layer]), CUT.join([b"", *documents[1:], layer])]


def _descriptor(name: str, kind: str) -> dict[str, object]:
    return {
        "mediaType": f"application/vnd.oci.image.{kind}",
        "digest": f"sha256:@{name}-digest",
        "size": f"@{name}-size",
    }


def _image(data: bytes, random: Random) -> bytes:
    """A tar of the parts, whose names, digests and sizes fit: a layout, or one of docker save."""
    parts = data.split(CUT, 4)
    index, manifest, config, save, layer = [*parts, *[b""] * (5 - len(parts))]
    known: dict[str, bytes] = {}

    def fitting(name: str, content: bytes) -> bytes:
        for key, value in known.items():
            content = content.replace(b"@%s-digest" % key.encode(), _sha256(value).encode())
            content = content.replace(b'"@%s-size"' % key.encode(), b"%d" % len(value))
        known[name] = content
        return content

    plain = fitting("layer", with_sums(layer))
    fitting("packed", _PACKED[random.choice(("", ".gz", ".zst"))](plain))
    for name, content in (("config", config), ("manifest", manifest)):
        fitting(name, content)
    files = {f"blobs/sha256/{_sha256(content)}": content for content in known.values()}
    if index:
        files |= {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
        files |= {"index.json": fitting("index", index)}
    else:
        files = {"manifest.json": save, "config.json": known["config"], "layer.tar": plain}
    return tar([member(name, content) for name, content in files.items()])


def _read_image(path: Path, directory: Path) -> object:
    with oci_archive.open_image(path, X86_64) as found:
        described = image.read_described(found, Store(directory), "x")
    return _contents(node for _, node in described.tree.items())


def _saves() -> list[bytes]:
    save = [{"Config": "c.json", "RepoTags": ["rancher/mirrored-pause:3.6"], "Layers": ["l.tar"]}]
    ids = [f"sha256:{_sha256(bytes(1024))}"]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": ids}}
    files = {"manifest.json": json.dumps(save).encode(), "c.json": json.dumps(config).encode()}
    return [tar([member(name, data) for name, data in (*files.items(), ("l.tar", bytes(1024)))])]


def _read_save(path: Path, _: Path) -> object:
    selected = k3s_airgap.select(path, ())
    with path.open("rb") as file, oci_archive.open_images(file, X86_64, "x") as found:
        return selected, [one.digest for one in found]


def _k3s() -> list[bytes]:
    fake = FakeK3s(X86_64)
    return [fake.tar(), fake.binary()]


def _binary(data: bytes, random: Random) -> bytes:
    if data.startswith(b"\x7fELF"):
        return data
    frame = zstandard.ZstdCompressor(level=1).compress(_tar(data, random))
    return FakeK3s(X86_64).wrap(b"embed/%s.tar.zst" % _sha256(frame).encode(), [frame])


def _read_k3s(path: Path, directory: Path) -> object:
    found = k3s.unpack(path, X86_64, Store(directory))
    return _contents(node for _, node in found.tree.items())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Texts


def _block_maps() -> list[bytes]:
    text = texts.BLOCK_MAP
    return [text]


def _block_map(data: bytes, random: Random) -> bytes:
    """Its own digest, which is taken with zeros in its place, as its bytes demand."""
    field = re.search(rb"<BmapFileChecksum> *(\w{64}) *<", data)
    if field is None or random.random() < 0.1:
        return data
    zeros = data[: field.start(1)] + b"0" * 64 + data[field.end(1) :]
    return zeros[: field.start(1)] + _sha256(zeros).encode() + zeros[field.end(1) :]


def _read_manifests(path: Path, _: Path) -> object:
    """As `workloads.manifests.texts` reads a file of an overlay."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return manifests.join("x", {"x.yaml": text}, ("docker.io/library/nginx:1.29",))


def _read_nocloud(path: Path, directory: Path) -> object:
    for name, part in zip(nocloud.NAMES, path.read_bytes().split(CUT, 2), strict=False):
        (directory / name).write_bytes(part)
    return rendering.files(nocloud.load(nocloud.find(directory)))


def _read_settings(path: Path, _: Path) -> object:
    return rendering.files(settings.load(path))


def _machines() -> list[bytes]:
    return [path.read_bytes() for path in sorted(texts.MACHINES.glob("*.txt"))]


def _read_fleet(path: Path, directory: Path) -> object:
    named = path.rename(directory / "fleet.csv")
    return [gateway.files() for gateway in fleet.load(named).gateways]


def _feeds() -> list[bytes]:
    return [
        CUT.join(json.dumps(one).encode() for one in (texts.SBOM, feed)) for feed in texts.FEEDS
    ]


def _read_feed(path: Path, directory: Path) -> object:
    sbom, _, feed = path.read_bytes().partition(CUT)
    (directory / "feed").write_bytes(feed)
    return cve.judge(sbom, [directory / "feed"]).to_json()


def _read_facts(path: Path, _: Path) -> object:
    return Manifest.read(path).to_json()


def _of_text(
    seeds: list[bytes],
    read: Callable[[Path, Path], object],
    error: type[EdgeimgError],
    wrap: Callable[[bytes, Random], bytes] = _same,
) -> Reader:
    return Reader(seeds=lambda: seeds, read=read, errors=(error,), wrap=wrap, tokens=words(seeds))


_OF_ARCHIVES = (ArchiveError, DigestError, ArchitectureError)
READERS = {
    "tar": Reader(seeds=_tars, read=_read_tar, errors=(ArchiveError,), wrap=_tar),
    "deb": Reader(seeds=_debs, read=_read_deb, errors=(ArchiveError,), wrap=_deb),
    "stream": Reader(seeds=_streams, read=_read_stream, errors=(ArchiveError,)),
    "image": Reader(
        seeds=_images, read=_read_image, errors=_OF_ARCHIVES, wrap=_image, tokens=words(_images())
    ),
    "airgap": Reader(seeds=_saves, read=_read_save, errors=_OF_ARCHIVES, wrap=_tar),
    "k3s": Reader(seeds=_k3s, read=_read_k3s, errors=_OF_ARCHIVES, wrap=_binary),
    "manifest": _of_text(list(texts.MANIFESTS), _read_manifests, RecipeError),
    "nocloud": _of_text([CUT.join(one) for one in texts.NOCLOUD], _read_nocloud, ProvisionError),
    "settings": _of_text([texts.SETTINGS.encode()], _read_settings, ProvisionError),
    "bmap": _of_text(
        _block_maps(), lambda path, _: blockmap.read(path), ImageError, wrap=_block_map
    ),
    "lock": _of_text([texts.LOCK.encode()], lambda path, _: read_lock(path), LockError),
    "fleet": _of_text([texts.FLEET.encode()], _read_fleet, ProvisionError),
    "facts": _of_text([json.dumps(manifest("arm64")).encode()], _read_facts, ImageError),
    "feed": _of_text(_feeds(), _read_feed, ArchiveError),
    "machine": _of_text(_machines(), lambda path, _: reading.read(path), MachineError),
}
