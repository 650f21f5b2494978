"""The names of a release's parts, for those who write it and those who check it."""

from edgeimg.image.layout import SIGNATURE, SUMS

UPDATE_SUMS = f"{SUMS}.update"
"""SHA-256 of the update files without compression, for gateways that assemble them."""
UPDATE_SIGNATURE = f"{UPDATE_SUMS}.gpg"
FACTS = "release.json"
EVIDENCE = "evidence"
"""The directory of the evidence. It has its own list and signature."""

__all__ = ["EVIDENCE", "FACTS", "SIGNATURE", "SUMS", "UPDATE_SIGNATURE", "UPDATE_SUMS"]
