"""The names of what is published beside an image, for those who write it and those who read it."""

SUMS = "SHA256SUMS"
"""As sha256sum(1) and systemd-sysupdate(8) read it."""
