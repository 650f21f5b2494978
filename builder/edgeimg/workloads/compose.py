"""All workloads of a recipe → files of the root."""

from __future__ import annotations

from collections.abc import Mapping

from edgeimg.tree import Node, Tree, file
from edgeimg.workloads.layout import K3S_MANIFESTS, MANIFESTS

_TMPFILES = "usr/lib/tmpfiles.d/edgeimg-workloads.conf"


def compose_manifests(manifests: Mapping[str, bytes]) -> Tree:
    """Manifests by the workload's name, and links to them where K3s looks.

    What a manifest of an earlier version of the image made in the cluster stays, as K3s has it
    (its documentation, "Auto-Deploying Manifests").
    """
    if not manifests:
        return Tree()
    nodes: dict[str, Node] = {
        f"{MANIFESTS}/{name}.yaml": file(text, origin=f"workload:{name}")
        for name, text in manifests.items()
    }
    lines = [
        "d /var/lib/rancher/k3s/server 0700 root root -\n",
        f"d {K3S_MANIFESTS} 0700 root root -\n",
        *(
            f"L+ {K3S_MANIFESTS}/edgeimg-{name}.yaml - - - - /{MANIFESTS}/{name}.yaml\n"
            for name in sorted(manifests)
        ),
    ]
    nodes[_TMPFILES] = file("".join(lines).encode(), origin="workloads")
    return Tree().with_nodes(nodes)
