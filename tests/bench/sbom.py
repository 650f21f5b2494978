"""The bill of materials of many files: edgeimg's writer beside that of the CycloneDX library.

    python3 tests/bench/sbom.py [FILES]…

Prints seconds and the peak of the memory, each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import environment  # noqa: F401
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model import component as library
from cyclonedx.model.bom import Bom
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from edgeimg import sbom
from edgeimg.sbom.model import IMAGE, Component, Distribution, Kind, Sbom

SIZES = (2_000, 8_000)


def sample(count: int) -> Sbom:
    """An image of so many files of an overlay."""
    components = tuple(
        Component(
            ref=f"file:srv/{number:07}", kind=Kind.FILE, name=f"srv/{number:07}", sha256="0" * 64,
            paths=(f"srv/{number:07}",), parts=("root",), note="from the overlay x",
        )
        for number in range(count)
    )  # fmt: skip
    return Sbom(
        id="gateway", version="1", arch="arm64", epoch=0, distribution=Distribution(),
        standin=False, components=components,
        relations={IMAGE: tuple(component.ref for component in components)},
    )  # fmt: skip


def by_library(described: Sbom) -> bytes:
    """The same files, as the library's model and writer."""
    image = library.Component(name=described.id, bom_ref=IMAGE)
    components = [
        library.Component(
            bom_ref=one.ref,
            type=library.ComponentType.FILE,
            name=one.name,
            description=one.note,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.sha256)],
            evidence=ComponentEvidence(occurrences=[Occurrence(location=one.name)]),
            properties=[Property(name="edgeimg:kind", value="file")],
        )
        for one in described.components
    ]
    owned = [Dependency(BomRef(one.ref)) for one in described.components]
    bom = Bom(components=components, dependencies=[Dependency(BomRef(IMAGE), owned), *owned])
    bom.metadata.component = image
    return JsonV1Dot6(bom).output_as_string(indent=2).encode()


WRITERS = {"edgeimg": sbom.cyclonedx, "library": by_library}


def measure(writer: str, count: int) -> None:
    """Print one line."""
    described = sample(count)
    began = time.perf_counter()
    document = WRITERS[writer](described)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    size = len(document) / 1e6
    print(f"{writer:8} {count:7} files {seconds:8.1f} s {peak:6} MiB {size:6.1f} MB", flush=True)


def main() -> None:
    """Run each writer with each number of files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=int, default=SIZES)
    parser.add_argument("--writer", choices=WRITERS, help="run this one here")
    options = parser.parse_args()
    for count in options.files:
        if options.writer:
            measure(options.writer, count)
            continue
        for writer in WRITERS:
            command = [sys.executable, __file__, "--writer", writer, str(count)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
