"""NoCloud's network-config, version 1 and 2 → [network.*] and [wifi] of the settings.

https://docs.cloud-init.io/en/latest/reference/network-config.html
"""

from __future__ import annotations

from edgeimg.provision import nocloud_v1, nocloud_v2
from edgeimg.provision.translation import Table


def translate(table: Table) -> None:
    """Take everything that is in network-config. Problems are remembered in the translation."""
    whole = table
    if inner := table.table("network"):
        table.end("network, or the keys in it")
        whole = inner
    if not whole.data and not table.data:
        table.note(None, "is empty: the networks of the image are used")
    elif whole.data.get("config") == "disabled":
        whole.without_meaning({"config": "the networks of the image are used"})
    else:
        _translate(whole)


def _translate(table: Table) -> None:
    match table.take("version", int, "1 or 2"):
        case 1:
            nocloud_v1.translate(table)
        case 2:
            nocloud_v2.translate(table)
        case _:
            table.problem("version", "expected version: 1 or version: 2")
