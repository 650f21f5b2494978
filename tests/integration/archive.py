"""A small Debian archive, signed by a key made for it, in a FileServer."""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tests.integration.fileserver import FileServer

SUITES = {"debian": ("trixie", "trixie-updates"), "debian-security": ("trixie-security",)}


@dataclass(frozen=True)
class Archive:
    """Packages are given as `{"name": "version", …}` with fields in `extra[name]`.

    Fields in `extra["name=version"]` are those of one version alone.
    """

    server: FileServer
    home: Path
    """GNUPGHOME; gpg wants its path short."""
    extra: dict[str, str] = field(default_factory=dict)
    codenames: dict[str, str] = field(default_factory=dict)
    """Of suites that have another code name than their name."""

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

    def publish(
        self,
        packages: Mapping[str, str],
        *,
        arch: str = "armhf",
        others: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        """Put the index of `packages` in the main suite, sign all suites, serve them.

        `others` has packages by `SUITE/COMPONENT`; every suite then has every component.
        """
        contents = {"trixie/main": packages, **others}
        components = {place.partition("/")[2] for place in contents}
        suites = dict.fromkeys(SUITES["debian-security"], "/security")
        suites |= dict.fromkeys(SUITES["debian"], "/debian")
        suites |= {place.partition("/")[0]: "/debian" for place in others}
        for suite, root in suites.items():
            files, where = {}, f"{root}/dists/{suite}"
            for component in components:
                held = contents.get(f"{suite}/{component}", {})
                text = self._packages(held, arch, component)
                path = f"{component}/binary-{arch}/Packages"
                files |= {path: text.encode(), f"{path}.xz": lzma.compress(text.encode())}
                self.server.files[f"{where}/{path}.xz"] = files[f"{path}.xz"]
            release = self._release(suite, arch, files, components).encode()
            self.server.files[f"{where}/InRelease"] = self._gpg("--clearsign", input=release)

    def _packages(self, packages: Mapping[str, str], arch: str, component: str) -> str:
        return "".join(
            f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: t\n"
            f"Filename: pool/{component}/{name[0]}/{name}/{name}_{version}_{arch}.deb\n"
            f"Size: 7\nSHA256: {hashlib.sha256((name + version).encode()).hexdigest()}\n"
            f"{self.extra.get(f'{name}={version}', self.extra.get(name, ''))}Description: test\n\n"
            for name, version in packages.items()
        )

    def _release(
        self, suite: str, arch: str, files: Mapping[str, bytes], components: Iterable[str]
    ) -> str:
        sums = "".join(
            f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
            for name, data in files.items()
        )
        return (
            f"Origin: Test\nSuite: {suite}\nCodename: {self.codenames.get(suite, suite)}\n"
            f"Architectures: {arch}\nComponents: {' '.join(components)}\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{sums}"
        )

    def _gpg(self, *args: str, input: bytes | None = None) -> bytes:
        base = ["gpg", "--homedir", str(self.home), "--batch", "--passphrase", ""]
        argv = [*base, "--pinentry-mode", "loopback", *args]
        result = subprocess.run(argv, input=input, capture_output=True, timeout=60)
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout
