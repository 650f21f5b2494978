"""Go, set up for one target architecture, and programs compiled with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

TAGS = (
    "netgo",
    "osusergo",
    "static_build",
    "no_btrfs",
    "no_devmapper",
    "no_zfs",
    "no_aufs",
    "no_tracing",
    "grpcnotrace",
    "urfave_cli_no_docs",
)

# The linker strips what debuggers read (LINK_FLAGS), so it need not be compiled.
FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-tags=" + ",".join(TAGS))
LINK_FLAGS = "-s -w -buildid="

# Everything that changes the output of the compiler, set whatever the caller
# has in its environment.
GO_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOOS": "linux",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    "GOARM": "7",
    "GOEXPERIMENT": "",
    "GOFIPS140": "off",
    "GOFLAGS": "",
    "GOWORK": "off",
}

MODULE = "edgeimg.local/standin"


@dataclass(frozen=True, kw_only=True)
class Go:
    """A Go toolchain set up for one target architecture."""

    program: str
    environment: Mapping[str, str]

    @classmethod
    def target(cls, arch: str, program: str) -> Go:
        """The toolchain for `arch`, in Go's names."""
        return cls(program=program, environment={**os.environ, **GO_ENVIRONMENT, "GOARCH": arch})

    def output(self, *arguments: str) -> str:
        """Run a go command and return what it prints."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=HERE,
            env=self.environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout


def compile_commands(
    go: Go, names: Iterable[str], out: Path, overlay: Path, link_flags: str = LINK_FLAGS
) -> None:
    """Compile commands, by their names below cmd/, into the folder `out`, and print progress.

    Packages from the cache are not counted as they pass, so the count may jump to the total.
    """
    out.mkdir()
    commands = [f"./cmd/{name}" for name in names]
    flags = [*FLAGS, f"-overlay={overlay}"]
    total = len(go.output("list", "-deps", *flags, *commands).split())
    command = [
        go.program, "build", "-v", *flags, f"-ldflags={link_flags}", "-o", f"{out}/", *commands,
    ]  # fmt: skip
    say(f"progress 0 {total}")
    done = 0
    complaints = []
    with subprocess.Popen(
        command, cwd=HERE, env=go.environment, text=True, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.fullmatch(r"[\w./~-]+\n", line):
                done += 1
                say(f"progress {min(done, total)} {total}")
            else:
                complaints.append(line)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(complaints))
    say(f"progress {total} {total}")


def program_packages(
    go: Go, folder: Path, command: str, variable: str, programs: Mapping[str, str]
) -> dict[Path, Path]:
    """Copy the sources of programs, packages by name, so that cmd/`command` can import them.

    In the copy the package has a name of its own and its main function is exported. One more file
    registers them in the command's `variable`. Returns where the copies shall seem to be.
    """
    here = HERE / "cmd" / command
    imports, registrations, places = "", "", {}
    for name, path in sorted(programs.items()):
        package = name.replace("-", "")
        for copy in export_program(go, path, folder / package):
            places[here / variable / package / copy.name] = copy
        imports += f'import "{MODULE}/cmd/{command}/{variable}/{package}"\n'
        registrations += f'func init() {{ {variable}["{name}"] = {package}.Main }}\n'
    register = folder / "register.go"
    register.write_text(f"package main\n{imports}{registrations}")
    places[here / "register.go"] = register
    return places


def export_program(go: Go, program: str, folder: Path) -> list[Path]:
    """Write a program's sources to a folder, as a package with a function Main."""
    listed = json.loads(go.output("list", "-json=Dir,GoFiles", program))
    folder.mkdir(parents=True)
    copies, mains = [], 0
    for name in listed["GoFiles"]:
        text = Path(listed["Dir"], name).read_text()
        text, renamed = re.subn(
            r"^package main$", f"package {folder.name}", text, count=1, flags=re.M
        )
        text, exported = re.subn(r"^func main\(\) \{$", "func Main() {", text, flags=re.M)
        if renamed != 1:
            raise OSError(
                f"{listed['Dir']}/{name}: no line 'package main'; has the module changed?"
            )
        mains += exported
        copies.append(folder / name)
        copies[-1].write_text(text)
    if mains != 1:
        raise OSError(
            f"{listed['Dir']}: {mains} main functions, expected 1; has the module changed?"
        )
    return copies


def write_overlay(path: Path, replacements: Mapping[Path, Path]) -> Path:
    """Write a file for go build -overlay."""
    path.write_text(
        json.dumps({"Replace": {str(seen): str(real) for seen, real in replacements.items()}})
    )
    return path


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
