"""A network that guests are started from: dnsmasq and a web server at the host's end of a tap.

Needs root, /dev/net/tun and dnsmasq.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.gateway import PROJECT

DEVICE = "edgeimg0"
HOST = "192.168.77.1"
_PAGE = PROJECT / "docs/how-to/netboot.md"
_EXAMPLE = {"enp3s0": DEVICE, "192.168.1.": f"{HOST.rpartition('.')[0]}."}


def is_possible() -> bool:
    """Whether this host can make such a network."""
    return (
        os.geteuid() == 0 and Path("/dev/net/tun").exists() and shutil.which("dnsmasq") is not None
    )


def configuration(title: str) -> str:
    """The configuration of dnsmasq that the documentation shows, for this network."""
    match = re.search(
        rf'```ini title="{re.escape(title)}[^\n]*\n(.*?)```', _PAGE.read_text(), re.DOTALL
    )
    assert match, f"{_PAGE} has no {title}"
    text = match[1]
    for there, here in _EXAMPLE.items():
        assert there in text
        text = text.replace(there, here)
    return text


@contextlib.contextmanager
def network(folder: Path, title: str, *options: str) -> Iterator[Sequence[str]]:
    """Serves the files of `folder` as the documentation says.

    Yields QEMU's options of a card there, behind `options`.
    """
    _ip("tuntap", "add", "dev", DEVICE, "mode", "tap")
    try:
        _ip("addr", "add", f"{HOST}/24", "dev", DEVICE)
        _ip("link", "set", DEVICE, "up")
        config = folder.with_suffix(".dnsmasq")
        leases = folder.with_suffix(".leases")
        config.write_text(configuration(title).replace("/srv/netboot", str(folder)))
        dhcp = [
            "dnsmasq", "--keep-in-foreground", "--port=0", "--user=root", "--bind-interfaces",
            "--log-facility=-", f"--dhcp-leasefile={leases}", "-C", str(config),
        ]  # fmt: skip
        with folder.with_suffix(".log").open("wb") as log, _running(dhcp, log), _web(folder):
            tap = f"tap,id=tap,ifname={DEVICE},script=no,downscript=no"
            card = "virtio-net-pci,netdev=tap,romfile=,bootindex=0"
            yield [*options, "-netdev", tap, "-device", card]
    finally:
        _ip("link", "delete", DEVICE)


class _Files(SimpleHTTPRequestHandler):
    """Serves files and stores what is PUT, as nginx does with the page's configuration."""

    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _web(folder: Path) -> Iterator[None]:
    handler = functools.partial(_Files, directory=str(folder))
    with ThreadingHTTPServer((HOST, 80), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@contextlib.contextmanager
def _running(argv: Sequence[str], log: object) -> Iterator[None]:
    with subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT) as process:  # type: ignore[call-overload]
        try:
            yield
        finally:
            process.kill()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
