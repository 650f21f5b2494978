"""The names of what is published beside an image, for those who write it and those who read it."""

SUMS = "SHA256SUMS"
"""As sha256sum(1) and systemd-sysupdate(8) read it."""
SIGNATURE = f"{SUMS}.gpg"
"""Detached OpenPGP signature over SUMS, where systemd-sysupdate looks for it."""
SHARED = "shared-cache"
"""Beside an image from a shared cache: SHA-256 of its download. An image built here has none."""
FILES = (".bmap", ".manifest.json", ".raw.zst")
"""What follows the image's name in the names of its files; SHA256SUMS lists them in this order."""
