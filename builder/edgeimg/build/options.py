"""The options of commands as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeimg.recipe.types import Gate
from edgeimg.trust.boot_keys import BootKeys
from edgeimg.vm.argv import GuestOptions


@dataclass(frozen=True, kw_only=True)
class K3sChoice:
    """`--k3s`: overrides the recipe's source for one run."""

    source: Literal["release", "file", "standin"]
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The options of `edgeimg build`."""

    output: Path
    k3s: K3sChoice | None = None
    offline: bool = False
    over_budget: bool = False
    """An exceeded budget does not stop the build."""


@dataclass(frozen=True, kw_only=True)
class SmokeOptions:
    """The options of `edgeimg smoke`."""

    output: Path
    guest: GuestOptions
    junit: Path | None = None
    jobs: int = 1
    """Number of guests that may run at once."""
    again: bool = True
    """Also boot images that passed before, byte for byte."""
    measure_writes: bool = True
    """Measure the bytes written at rest, if the recipe has a budget for them."""


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """The options of `edgeimg release`."""

    build: BuildOptions
    guest: SmokeOptions
    directory: Path
    """Where releases are: each is a directory named after its version."""
    allow: frozenset[Gate] = frozenset()
    """Gates that may fail, besides those that the recipe allows."""
    key: str | None = None
    """Fingerprint or user id of the key to sign with; None: the only one there is."""
    home: Path | None = None
    """GnuPG's home directory, when it is not the user's."""
    passphrase_file: Path | None = None
    previous: Path | None = None
    """The release to compare sizes with; None: the latest other one in `directory`."""
    boot_keys: BootKeys | None = None
    """The private keys of Secure Boot; None: boot files are not signed."""
    reports: Path | None = None
    """Where findings and boots are written for CI services, of a release held back too."""
