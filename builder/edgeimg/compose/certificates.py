"""The bundle of certificate authorities, as update-ca-certificates(8) makes it."""

from __future__ import annotations

from edgeimg.tree import Kind, Tree, file

BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_PACKAGED = "usr/share/ca-certificates"
_LOCAL = "usr/local/share/ca-certificates"


def bundle_certificates(tree: Tree) -> Tree:
    """The tree with one file of all certificates, in place of the package's single ones.

    Certificates of a recipe's own authorities are put into usr/local/share/ca-certificates by an
    overlay. A tree without any certificate does not change.
    """
    parts = [
        node.read().strip() + b"\n"
        for directory in (_PACKAGED, _LOCAL)
        for path, node in tree.under(directory)
        if path.endswith(".crt") and node.kind is Kind.FILE
    ]
    if not parts:
        return tree
    lean = tree.without(lambda path, _: path in (_PACKAGED, "usr/sbin/update-ca-certificates"))
    return lean.with_nodes({BUNDLE: file(b"".join(parts), origin="package:ca-certificates")})
