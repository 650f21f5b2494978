"""What makes an image one gateway's: settings that people write, and the files they become.

`reading` and `nocloud` read settings, `settings` is what they may say, `rendering` makes the files
of the config partition of them, `partition` puts those where a gateway finds them. The gateway's
side is overlays/base/usr/lib/edgeimg/provision; docs/how-to/provisioning.md describes the files.
"""
