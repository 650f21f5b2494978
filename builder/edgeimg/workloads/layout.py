"""Where images for pods, and manifests, are in a root and on the running gateway."""

from __future__ import annotations

IMAGES = "usr/lib/edgeimg/images"
"""Below it, for each image: a directory named after it and its content, with `rootfs/`."""
ARCHIVE = f"{IMAGES}/images.tar"
"""The archive that containerd imports: all images, each with a layer that names its directory."""
LIST = f"{IMAGES}/list"
"""Lines `REFERENCE sha256:… DIRECTORY`: the image's ID and the name of its directory."""
MARK = ".edgeimg-image"
"""The only file of such a layer. It holds the name of the directory."""
MANIFESTS = "usr/share/edgeimg/manifests"
"""Below it, `NAME.yaml` for each workload."""
K3S_MANIFESTS = "/var/lib/rancher/k3s/server/manifests"
"""The manifests that K3s applies."""
