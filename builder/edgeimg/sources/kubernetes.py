"""Renders kustomizations with `kubectl kustomize` of the image's version of K3s.

It runs on the build host, on a copy of the files, without access to a network.
"""

from __future__ import annotations

from pathlib import Path

from edgeimg import process
from edgeimg.cache.store import Store, disk_errors, key
from edgeimg.errors import RecipeError, ToolError
from edgeimg.sources.k3s import DATA, K3sBundle
from edgeimg.tree import Tree

_DEADLINE = 300.0
_NOWHERE = "http://127.0.0.1:9"
"""An unused port (RFC 863): remote bases fail at once."""


def kubectl(bundle: K3sBundle, store: Store) -> Path:
    """The program, in the cache; `bundle` is of this host's architecture."""
    program = bundle.tree[f"{DATA}/{bundle.data_hash}/bin/k3s"]

    def make(result: Path) -> None:
        with disk_errors(result):
            result.mkdir()
            Tree({"kubectl": program}).extract(result)

    return store.derived(key("kubectl", "1", bundle.data_hash), make) / "kubectl"


def kustomize(program: Path, files: Tree, directory: str, *, store: Store) -> bytes:
    """The objects that the kustomization in `directory` of `files` leads to, as YAML.

    Raises RecipeError with the message of kubectl.
    """
    with store.work("kustomize") as work, disk_errors(store.root):
        files.extract(work / "files")
        environment = {"HOME": str(work), "PATH": "/nonexistent", "XDG_CACHE_HOME": str(work)}
        proxies = {f"{kind}_PROXY": _NOWHERE for kind in ("HTTP", "HTTPS", "ALL")}
        try:
            return process.run(
                [program, "kustomize", work / "files" / directory],
                timeout=_DEADLINE,
                env={**environment, **proxies},
            )
        except ToolError as error:
            output = error.message.replace(f"{work}/files", "").strip()
            raise RecipeError(
                f"the kustomization cannot be rendered: {output}",
                hint="everything that it names must be in the project, below `manifests`",
            ) from None
