"""Fuzz the readers of files that others made, with Atheris (libFuzzer); findings are saved.

    uv pip install -e '.[dev,fuzz]'
    python tests/fuzz/run.py [--minutes N] [--findings DIRECTORY] [READER]...
    python tests/fuzz/run.py --file FILE READER

Each input is read, or ends in an error that its reader documents, within MEMORY and SECONDS.
Anything else is a finding: its input is saved with the traceback beside it, and `--file` runs the
reader on it again. Ends with 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "builder")]

from tests.fuzz.readers import READERS  # noqa: E402

MEMORY = 1024
"""MiB of a process, the instrumented program included."""
SECONDS = 30
"""Of one input."""
LARGEST = 1 << 16
"""Bytes of an input, before it is wrapped."""
_STATS = re.compile(r"stat::(slowest_unit_time_sec|peak_rss_mb): +(\d+)")
_KEEP = re.compile(r"#(\d+)\s+(?:DONE|pulse|NEW|REDUCE|RELOAD|INITED).*?cov: (\d+)")


@dataclass
class Score:
    """What one reader has seen."""

    reader: str
    inputs: int = 0
    places: int = 0
    """Covered branches, as libFuzzer counts them."""
    slowest: int = 0
    """Whole seconds of the input that took longest."""
    memory: int = 0
    """MiB of the process at most."""
    findings: list[Path] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Fuzz the readers one after another. Returns 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}")
    parser.add_argument("--minutes", type=float, default=60.0, help="for all readers together (60)")
    parser.add_argument("--findings", type=Path, default=PROJECT / "out/fuzz", metavar="DIRECTORY")
    parser.add_argument("--file", type=Path, help="run one reader on this file")
    options = parser.parse_args(arguments)
    names = options.readers or list(READERS)
    if unknown := [name for name in names if name not in READERS]:
        parser.error(f"unknown reader {unknown[0]}: expected one of {', '.join(READERS)}")
    if options.file:
        if len(names) != 1:
            parser.error("--file needs the name of one reader")
        return _start(names[0], [str(options.file)]).wait() and 1
    options.findings.mkdir(parents=True, exist_ok=True)
    scores = [_fuzz(name, 60 * options.minutes / len(names), options.findings) for name in names]
    return 1 if any(score.findings for score in scores) else 0


def _fuzz(name: str, seconds: float, findings: Path) -> Score:
    """One reader. After a finding it goes on, with what it has learned."""
    reader, score = READERS[name], Score(reader=name)
    with tempfile.TemporaryDirectory(prefix="edgeimg-fuzz.") as work:
        corpus, words = Path(work, "corpus"), Path(work, "words")
        corpus.mkdir()
        for number, seed in enumerate(reader.seeds()):
            (corpus / str(number)).write_bytes(seed)
        escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in reader.tokens)
        words.write_text("".join(f'"{token}"\n' for token in escaped))
        end = time.monotonic() + seconds
        while (left := int(end - time.monotonic())) > 0:
            prefix = findings / f"{name}-"
            options = [
                str(corpus), f"-max_total_time={left}", f"-timeout={SECONDS}",
                f"-rss_limit_mb={MEMORY}", f"-max_len={LARGEST}", f"-artifact_prefix={prefix}",
                "-print_final_stats=1",
                *([f"-dict={words}"] if reader.tokens else []),  # it refuses an empty one
            ]  # fmt: skip
            process = _start(name, options, stderr=subprocess.PIPE)
            _, log = process.communicate()
            text = log.decode(errors="replace")
            counts = _KEEP.findall(text)
            if counts:
                score.inputs += int(counts[-1][0])
                score.places = max(score.places, *(int(places) for _, places in counts))
            stats = dict(_STATS.findall(text))
            score.slowest = max(score.slowest, int(stats.get("slowest_unit_time_sec", 0)))
            score.memory = max(score.memory, int(stats.get("peak_rss_mb", 0)))
            if process.returncode == 0:
                break
            saved = re.search(r"Test unit written to (\S+)", text)
            if saved is None:
                # Killed by somebody else, or it cannot begin.
                print(f"{name}: ended with {process.returncode}:\n{text[-500:]}", flush=True)
                if not counts:
                    raise SystemExit(1)
                continue
            path = Path(saved[1])
            path.with_suffix(".txt").write_text(text[-20_000:])
            score.findings.append(path)
            print(f"{name}: {path}", flush=True)
    print(
        f"{name:9} {score.inputs:8} inputs, {score.places:5} places, "
        f"{len(score.findings)} findings, slowest {score.slowest} s, {score.memory} MiB",
        flush=True,
    )
    return score


def _start(name: str, options: list[str], stderr: int | None = None) -> subprocess.Popen[bytes]:
    argv = [sys.executable, str(PROJECT / "tests/fuzz/one.py"), name, *options]
    return subprocess.Popen(
        argv,
        cwd=PROJECT,
        stdout=stderr and subprocess.DEVNULL,
        stderr=stderr,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY << 20, MEMORY << 20)),
    )


if __name__ == "__main__":
    sys.exit(main())
