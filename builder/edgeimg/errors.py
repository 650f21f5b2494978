"""One exception class and one exit code per documented cause.

Every error says what happened, what was expected and what to do next (`hint`).
Only `edgeimg.cli` turns an error into a process exit.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeimgError(Exception):
    """Base of all errors that edgeimg reports to its user: one line, one hint, one exit code."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RecipeError(EdgeimgError):
    """The recipe is malformed; the message lists every error of the file."""

    exit_code = 3


class LockError(EdgeimgError):
    """The lock is missing, stale, or cannot be resolved."""

    exit_code = 4


class FetchError(EdgeimgError):
    """An input cannot be downloaded (network, mirror, HTTP status), or is missing offline."""

    exit_code = 5


class DigestError(EdgeimgError):
    """Bytes do not match their locked size or sha256."""

    exit_code = 6


class DamageError(DigestError):
    """An input in the cache was damaged after it was fetched; it has been removed."""


class ArchiveError(EdgeimgError):
    """An archive is truncated, malformed or hostile (escapes its tree, bombs)."""

    exit_code = 7


class ArchitectureError(EdgeimgError):
    """A program was built for another architecture than the image."""

    exit_code = 8


class ToolError(EdgeimgError):
    """A host tool failed or overran its deadline; the message holds the tail of its log."""

    exit_code = 9


class OverrunError(ToolError):
    """A host tool overran its deadline."""


class BudgetError(EdgeimgError):
    """A size budget of the recipe is exceeded."""

    exit_code = 10


class CheckError(EdgeimgError):
    """The image was built, but a check found errors in it."""

    exit_code = 11


class SmokeError(EdgeimgError):
    """A guest booted without reaching the expected state before its deadline."""

    exit_code = 12


class HostError(EdgeimgError):
    """This host lacks something: disk space, a permission, a program."""

    exit_code = 13


class ImageError(EdgeimgError):
    """A file is not an edgeimg image, or is damaged."""

    exit_code = 14


class ReleaseError(EdgeimgError):
    """A release is held back: something in it must not be shipped unless allowed by name."""

    exit_code = 15


class VerifyError(EdgeimgError):
    """A signature or a digest of a release does not hold, or a rebuild differs."""

    exit_code = 16


class SigningKeyError(EdgeimgError):
    """No key to sign with, or one that is locked, ambiguous, or kept where others can read it."""

    exit_code = 17


class FlashError(EdgeimgError):
    """A disk was not flashed; the message names each and why."""

    exit_code = 18


class ProvisionError(EdgeimgError):
    """The settings of a gateway are malformed; the message lists every error of its files."""

    exit_code = 19


class MachineError(EdgeimgError):
    """The description of a machine cannot be read, or fits no image.

    It names no device, or is of another architecture.
    """

    exit_code = 20


class CoverageError(EdgeimgError):
    """The image lacks a driver or firmware for a device of the machine."""

    exit_code = 21


class RolloutError(EdgeimgError):
    """A roll-out cannot be made or has failed.

    Wrong steps or credentials, a refusal of the server, too many failed gateways, or the end of
    --wait.
    """

    exit_code = 22


INTERRUPTED = 130
USAGE = 2
