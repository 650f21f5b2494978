"""The key that has to sign the settings of a gateway, and the program that verifies them."""

from __future__ import annotations

from edgeimg.errors import RecipeError
from edgeimg.recipe.provisioning import Provisioning
from edgeimg.tree import Tree, file

KEYRING = "usr/share/edgeimg/provision.gpg"
"""With this file a gateway takes signed settings only (provision-signed)."""
_ORIGIN = "edgeimg"
_VERIFIER = "usr/bin/gpgv"


def compose(keyring: bytes) -> Tree:
    """What `[provision] key` puts into the root; `keyring` is binary (RFC 4880, 11.1) or empty."""
    if not keyring:
        return Tree()
    return Tree().with_nodes({KEYRING: file(keyring, origin=_ORIGIN)})


def require_verifier(root: Tree, provision: Provisioning) -> None:
    """Raises RecipeError when settings are to be signed, and the root cannot verify them."""
    if provision.key is not None and _VERIFIER not in root:
        raise RecipeError(
            "provision.key is given, but the image has no gpgv to check signatures with",
            hint='add it to the recipe, and lock again: [packages] include = ["gpgv"]',
        )
