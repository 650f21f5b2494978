"""K3s and the Go programs of an image, with the modules inside them."""

from __future__ import annotations

from collections.abc import Container

from edgeimg import tree
from edgeimg.sbom import gomod, purl
from edgeimg.sbom.collection import Collection, digest_of
from edgeimg.sbom.gomod import Program
from edgeimg.sbom.model import IMAGE, Component, Kind
from edgeimg.sources.k3s import K3sBundle

K3S_MODULE = "github.com/k3s-io/k3s"
STANDIN = "k3s-standin"
_LOCAL = "edgeimg.local/"
_NOTE = "NOT K3s: edgeimg's stand-in for tests and demonstrations, a Kubernetes in K3s' packaging"


def add_k3s(collection: Collection, k3s: K3sBundle) -> None:
    """K3s, or the stand-in under its own name."""
    version = k3s.version
    name = STANDIN if k3s.standin else "k3s"
    url = purl.generic(STANDIN, version) if k3s.standin else purl.golang(K3S_MODULE, version)
    collection.add(
        Component(
            ref="k3s",
            kind=Kind.K3S,
            name=name,
            version=version,
            purl=url,
            licences=("Apache-2.0",),
            supplier="edgeimg" if k3s.standin else "K3s",
            sha256=k3s.sha256,
            parts=("root",),
            note=_NOTE if k3s.standin else "",
        ),
        IMAGE,
    )


def add_program(
    collection: Collection,
    place: str,
    program: Program,
    *,
    digest: str,
    owner: str,
    k3s: K3sBundle | None,
) -> None:
    """A Go program, and below it the standard library and its modules.

    `place` is its path in the root, or `IMAGE:/PATH` in a container image.
    """
    main = program.main
    version = main.version
    if main.path == K3S_MODULE and k3s is not None and not k3s.standin:
        version = version or k3s.version
    public = main.path and not main.path.startswith(_LOCAL)
    ref = collection.add(
        Component(
            ref=f"program:{place}",
            kind=Kind.PROGRAM,
            name=place.rpartition("/")[2],
            version=version,
            purl=purl.golang(main.path, version) if public else "",
            sha256=digest,
            paths=(place,),
            parts=("root",),
            note=f"{program.path or main.path}, built with Go {program.go}",
        ),
        owner,
    )
    stdlib = gomod.Module(path="stdlib", version=program.go)
    for module in (stdlib, *program.modules):
        url = purl.golang(module.path, module.version)
        collection.add(
            Component(
                ref=f"{url}#{module.replaces}" if module.replaces else url,
                kind=Kind.MODULE,
                name=module.path,
                version=module.version,
                purl=url,
                replaces=module.replaces,
            ),
            ref,
        )


def add_opaque(collection: Collection, k3s: K3sBundle, go_programs: Container[str]) -> None:
    """Programs of K3s that are not written in Go (its `bin/aux`): their parts are unknown."""
    for path, node in k3s.tree.items():
        if node.kind is tree.Kind.FILE and node.mode & 0o111 and path not in go_programs:
            collection.add(
                Component(
                    ref=f"program:{path}",
                    kind=Kind.PROGRAM,
                    name=path.rpartition("/")[2],
                    sha256=digest_of(k3s.tree, path),
                    paths=(path,),
                    parts=("root",),
                    note="part of K3s; its version is unknown",
                ),
                "k3s",
            )
