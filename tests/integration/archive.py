"""A small Debian archive, signed by a key made for it, in a FileServer."""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.fileserver import FileServer

SUITES = {"debian": ("trixie", "trixie-updates"), "debian-security": ("trixie-security",)}


@dataclass(frozen=True)
class Archive:
    """Packages are given as `{"name": "version", …}` with fields in `extra[name]`."""

    server: FileServer
    home: Path
    """GNUPGHOME; gpg wants its path short."""
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def keyring(self) -> Path:
        """The public key, as apt takes it."""
        return self.home / "archive.gpg"

    @property
    def env(self) -> dict[str, str]:
        """What names this archive as the mirror."""
        base = self.server.url
        return {"EDGEIMG_MIRROR": f"{base}/debian", "EDGEIMG_SECURITY_MIRROR": f"{base}/security"}

    def make_key(self) -> None:
        """Make the signing key and its keyring."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        self._gpg("--quick-gen-key", "Test archive", "ed25519", "sign", "never")
        self.keyring.write_bytes(self._gpg("--export"))

    def publish(self, packages: Mapping[str, str], *, arch: str = "armhf") -> None:
        """Put the index of `packages` in the main suite, sign all suites, serve them."""
        for archive, suites in SUITES.items():
            root = "/debian" if archive == "debian" else "/security"
            for suite in suites:
                text = self._packages(packages, arch) if suite == "trixie" else ""
                index = lzma.compress(text.encode())
                path = f"main/binary-{arch}/Packages"
                files = {path: text.encode(), f"{path}.xz": index}
                release = self._release(suite, arch, files).encode()
                where = f"{root}/dists/{suite}"
                self.server.files[f"{where}/InRelease"] = self._gpg("--clearsign", input=release)
                self.server.files[f"{where}/{path}.xz"] = index

    def _packages(self, packages: Mapping[str, str], arch: str) -> str:
        return "".join(
            f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: t\n"
            f"Filename: pool/main/{name[0]}/{name}/{name}_{version}_{arch}.deb\n"
            f"Size: 7\nSHA256: {hashlib.sha256((name + version).encode()).hexdigest()}\n"
            f"{self.extra.get(name, '')}Description: test\n\n"
            for name, version in packages.items()
        )

    def _release(self, suite: str, arch: str, files: Mapping[str, bytes]) -> str:
        sums = "".join(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
            for name, data in files.items()
        )
        return (
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nArchitectures: {arch}\n"
            f"Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{sums}"
        )

    def _gpg(self, *args: str, input: bytes | None = None) -> bytes:
        base = ["gpg", "--homedir", str(self.home), "--batch", "--passphrase", ""]
        argv = [*base, "--pinentry-mode", "loopback", *args]
        result = subprocess.run(argv, input=input, capture_output=True, timeout=60)
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout
