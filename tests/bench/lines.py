"""Lines of the builder by room: modules, lines, and how many of them are code.

    python tests/bench/lines.py [REVISION]

The rest is docstrings, comments and blank lines. With a git revision, its lines beside today's.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tokenize
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BUILDER = "builder"
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(source: str) -> int:
    """Lines that hold code: no docstring, no comment, not blank."""
    text = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - text)


def room(path: str) -> str:
    """The room of a module: `flash` of builder/edgeimg/flash/ring.py."""
    parts = Path(path).parts
    if parts[1] != "edgeimg":
        return f"{parts[1]} (not in the wheel)" if len(parts) > 2 else "(bootstrap)"
    return parts[2] if len(parts) > 3 else "(top floor)"


def sources(revision: str) -> dict[str, str]:
    """Python files of the builder by path; of the work tree without a revision."""
    if not revision:
        return {
            str(path.relative_to(PROJECT)): path.read_text()
            for path in sorted((PROJECT / BUILDER).rglob("*.py"))
        }
    names = _git("ls-tree", "-r", "--name-only", revision, "--", BUILDER).splitlines()
    return {name: _git("show", f"{revision}:{name}") for name in names if name.endswith(".py")}


def main(revision: str) -> None:
    """Print the table."""
    files = sources("")
    modules, lines, code = Counter[str](), Counter[str](), Counter[str]()
    for path, source in files.items():
        modules[room(path)] += 1
        lines[room(path)] += len(source.splitlines())
        code[room(path)] += code_lines(source)
    print(f"{'room':<26} {'modules':>7} {'lines':>7} {'code':>7}")
    for name, count in sorted(lines.items(), key=lambda item: -item[1]):
        print(f"{name:<26} {modules[name]:>7} {count:>7} {code[name]:>7}")
    print(f"{'together':<26} {modules.total():>7} {lines.total():>7} {code.total():>7}")
    if revision:
        before = sources(revision)
        old = sum(len(source.splitlines()) for source in before.values())
        old_code = sum(code_lines(source) for source in before.values())
        print(f"{revision[:20]:<26} {len(before):>7} {old:>7} {old_code:>7}")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Count the lines of the builder by room.")
    parser.add_argument("revision", nargs="?", default="", help="of git, to compare with")
    main(parser.parse_args().revision)
