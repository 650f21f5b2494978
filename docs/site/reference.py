"""The generated half of the reference: recipe, settings, commands, exit codes, environment.

A hook of mkdocs. `pages()` is the whole of it: path of a page → its Markdown. Nothing of it is
tracked; it is generated from the code whenever the site is built.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from edgeimg import __version__, builtin, errors
from edgeimg.cli import cli
from edgeimg.project import template
from edgeimg.provision.settings import settings_schema
from edgeimg.recipe.file import shipped_boards
from edgeimg.recipe.model import recipe_schema

PROJECT = Path(__file__).resolve().parent.parent.parent
OVERLAYS = PROJECT / "overlays"
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

ENVIRONMENT = {
    "EDGEIMG_CACHE": "Directory of the cache. Default: `$XDG_CACHE_HOME/edgeimg`, "
    "else `~/.cache/edgeimg`.",
    "EDGEIMG_CACHE_LIMIT": "Size that results may take in the cache, such as `20 GiB`. Default: "
    "`12 GiB`. The least recently used results are removed first. Downloads are never removed.",
    "EDGEIMG_REMOTE_CACHE": "Address of a shared build cache. Default: no such cache.",
    "EDGEIMG_REMOTE_CACHE_WRITE": "`1` also stores images there that are built here.",
    "EDGEIMG_MIRROR": "Debian archives, separated by spaces, tried in order. Default: the ones "
    "that apt uses on this host.",
    "EDGEIMG_SECURITY_MIRROR": "The same for Debian's security archive.",
    "EDGEIMG_K3S_URL": "Mirrors of the K3s releases, separated by spaces, tried in order. "
    "Default: `[k3s] url` of the recipe.",
    "EDGEIMG_SIGN": "Key that signs settings, as `--sign` of `provision` and `fleet` names it.",
    "EDGEIMG_SIGN_HOME": "Its GnuPG home directory, as with `--sign-home`.",
    "EDGEIMG_SIGN_PASSPHRASE_FILE": "File with its passphrase, as with `--sign-passphrase-file`.",
    "EDGEIMG_ROLLOUT_SERVER": "Address of the roll-out server, as with `--server`.",
    "EDGEIMG_ROLLOUT_USER": "Your name at the roll-out server, for `edgeimg rollout`.",
    "EDGEIMG_ROLLOUT_PASSWORD": "Your password at the roll-out server.",
    "SOURCE_DATE_EPOCH": "Time stamp of all files in images, in seconds since 1970. Replaces "
    "`[image] epoch` of the recipe.",
    "XDG_CACHE_HOME": "Parent of the default cache directory.",
    "EFIVARFS_PATH": "Directory of the firmware's variables, for efibootmgr (libefivar). Default: "
    "`/sys/firmware/efi/efivars`.",
    "DOCKER_HOST": "Docker engine that container images are pulled from.",
    "GNUPGHOME": "GnuPG's directory, with the key that signs releases.",
    "COLUMNS": "Width of tables when the output is not a terminal. Default: 160.",
    "TERM": "Terminal type of the guest's console in `edgeimg run`.",
    "SUDO_USER": "Set by sudo. The ledger names this user as the one who flashed.",
}
"""Every variable that edgeimg reads, and its effect. A test compares it with the code."""


def on_config(config: Any) -> Any:
    """Add the decision records to the navigation: one file each, in their order."""
    records = sorted((PROJECT / "docs/adr").glob("*.md"))
    explanation = next(entry["Explanation"] for entry in config.nav if "Explanation" in entry)
    explanation.append({"Decisions": [f"adr/{path.name}" for path in records]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages, and what the search needs in a browser without a server."""
    from mkdocs.structure.files import File

    worker = (PROJECT / "docs/site/worker.js").read_text()
    for path, text in {**pages(), "assets/worker.js": worker}.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Load the shim for search from the site itself: the theme loads one from another host."""
    from mkdocs.utils import get_relative_url

    del config
    return output.replace(_SHIM, get_relative_url("assets/worker.js", page.url))


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The same for pages that are not written in Markdown."""
    del template_name, config
    return output.replace(_SHIM, "assets/worker.js")


_SHIM = "https://unpkg.com/iframe-worker/shim"


def pages() -> dict[str, str]:
    """Every generated page, by its path below docs/."""
    return {
        "reference/recipe.md": recipe(),
        "reference/settings.md": settings(),
        "reference/commands.md": commands(),
        "reference/boards.md": boards(),
        "reference/exit-codes.md": exit_codes(),
        "reference/environment.md": environment(),
        "reference/gateway-commands.md": gateway_commands(),
        "reference/pipelines.md": pipelines(),
    }


def pipelines() -> str:
    """The files that `edgeimg init --ci` writes, and the scripts that they run."""
    written = {p: t for files in template.PIPELINES.values() for p, t in files.items()}
    scripts = {f"edgeimg show {name}": name for name in ("ci/release.sh", "ci/summary.py")}
    languages = {"sh": "bash", "py": "python", "yml": "yaml"}
    blocks = [
        f"## {title}\n\n```{languages[name.rpartition('.')[2]]}\n"
        f"{builtin.find(name).read_text().replace('@VERSION@', __version__)}```\n"
        for title, name in (written | scripts).items()
    ]
    about = (
        "# Pipelines\n\n`edgeimg init --ci github` and `edgeimg init --ci gitlab` write these "
        "files. [Release in a pipeline](../how-to/pipelines.md) shows how to use them. They run "
        "two scripts of the installed edgeimg. Generated from the program.\n"
    )
    return "\n".join([about, *blocks])


def recipe() -> str:
    """The keys of a recipe, by table."""
    return "\n".join(
        [
            "# Recipe",
            "",
            "A recipe is a TOML file. `edgeimg init` writes a commented one, and a JSON Schema for "
            'editors. Sizes are numbers of bytes, or texts such as `"120 MiB"`. Generated from '
            "the program.",
            "",
            *_tables(recipe_schema()),
        ]
    )


def boards() -> str:
    """The boards that come with edgeimg, one row each."""
    lines = [
        "# Boards",
        "",
        "The boards without UEFI that come with edgeimg. `edgeimg show boards/NAME` prints all "
        "keys of one. [Boards without UEFI](../how-to/boards.md) shows how to use them, and what "
        "was tried. Generated from the program.",
        "",
        "| Name | Hardware | Architecture | Boot loader, by its place | Partition table | "
        "First partition | Console | Watchdog |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, board in shipped_boards().items():
        raw = [f"{_size(at)}: `{path.removeprefix('usr/lib/')}`" for at, path in board.raw.items()]
        files = [f"boot partition: `{path}`" for path in board.esp if path.endswith(".bin")]
        loader = "<br>".join(raw or files) or "QEMU loads it"
        table = [
            *([f"{board.entries} entries"] if board.entries != 128 else []),
            *([f"entries at sector {board.table}"] if board.table != 2 else []),
            *(["hybrid MBR"] if board.hybrid else []),
        ]
        cells = (
            f"`{name}`", board.title, board.arch, loader, ", ".join(table) or "usual",
            _size(board.first), ", ".join(f"`{one}`" for one in board.consoles) or "usual",
            f"{board.watchdog} s" if board.watchdog else "",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def settings() -> str:
    """The keys of a gateway's settings, by table."""
    return "\n".join(
        [
            "# Settings",
            "",
            "The settings of one gateway are a TOML file for `edgeimg provision`, or a row of a "
            "[fleet](../how-to/fleets.md). [Provision a gateway](../how-to/provisioning.md) shows "
            "how to use them. Generated from the program.",
            "",
            *_tables(settings_schema()),
        ]
    )


def keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Table and key of every key that a file of this schema may have."""
    for table, described in _described(schema):
        for key in described.get("properties", {}):
            yield table, key


def _described(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables of a schema, outer ones first: heading → its schema."""
    waiting = [("", schema)]
    seen = {"JsonValue"}
    while waiting:
        table, described = waiting.pop(0)
        yield table, described
        for key, value in described.get("properties", {}).items():
            for name, suffix in _references(value):
                if name not in seen:
                    seen.add(name)
                    path = f"{table}.{key}{suffix}".lstrip(".")
                    waiting.append((path, schema["$defs"][name]))


def _references(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The tables that a key holds: name in $defs, and `.NAME` where the reader chooses a name."""
    if "$ref" in value:
        yield value["$ref"].rpartition("/")[2], ""
    for one in value.get("anyOf", ()):
        yield from _references(one)
    if isinstance(value.get("items"), dict):
        yield from _references(value["items"])
    inner = [value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
    for one in inner:
        if isinstance(one, dict):
            yield from ((name, f".NAME{rest}") for name, rest in _references(one))


def _tables(schema: Mapping[str, Any]) -> Iterator[str]:
    for table, described in _described(schema):
        if table:
            yield from (f"## `[{table}]`", "", _text(_summary(described)), "")
        else:
            yield from ("## Top level", "")
        yield from ("| Key | Type | Default | |", "|---|---|---|---|")
        for key, value in described.get("properties", {}).items():
            about = _text(_description(value, schema))
            yield f"| `{key}` | {_kind(value)} | {_default(value)} | {about} |"
        yield ""


def _summary(described: Mapping[str, Any]) -> str:
    return str(described.get("description", "")).split("\n\n")[0]


def _description(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "description" in value:
        return str(value["description"])
    for name, _ in _references(value):
        return _summary(schema["$defs"][name])
    return ""


def _kind(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "$ref" in value:
        return "value" if value["$ref"].endswith("JsonValue") else "table"
    if "anyOf" in value:
        kinds = dict.fromkeys(_kind(one) for one in value["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    kind = value.get("type", "value")
    if isinstance(kind, list):
        return "size"
    if kind == "array":
        return f"list of {_kind(value.get('items', {}))}s".replace("`s", "`")
    if kind == "object":
        return "table"
    return {"string": "text", "integer": "number", "boolean": "true or false"}.get(kind, kind)


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ([], {}, ""):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int):
        return f"`{_size(default)}`"
    if isinstance(default, list):
        return ", ".join(f"`{one}`" for one in default)
    return f"`{default}`"


def _size(number: int) -> str:
    for unit, size in reversed(UNITS.items()):
        if number >= size and number % size == 0:
            return f"{number // size} {unit}"
    return str(number)


def _text(words: str) -> str:
    """Plain words as one cell of a Markdown table; a sentence begins with a capital."""
    line = " ".join(words.split())
    line = re.sub(r"(?<![`\w])(\[\[?[a-z][\w.\"-]*\]\]?)(?![`(])", r"`\1`", line)
    line = re.sub(r"(?<![\w`])'([^']+)'(?![\w`])", r"`\1`", line)
    line = line.replace("|", "\\|").replace("<", "&lt;")
    first = line.partition(" ")[0].rstrip(",:")
    return _outside_code(line[:1].upper() + line[1:] if first.isalpha() else line)


def _outside_code(line: str) -> str:
    parts = line.split("`")
    return "`".join(
        part if index % 2 else part.replace("*", "\\*").replace("_", "\\_")
        for index, part in enumerate(parts)
    ).replace("`&lt;", "`<")


def commands() -> str:
    """Every command with its options, as `--help` prints them."""
    lines = [
        "# Commands",
        "",
        "Every command prints this with `--help`. Generated from the program.",
        "",
    ]
    for path, command in walk(cli, "edgeimg"):
        context = click.Context(command, info_name=path)
        lines += [f"## `{path}`", ""]
        if command.help:
            lines += [_prose(command.help), ""]
        pieces = " ".join(command.collect_usage_pieces(context))
        lines += ["```text", f"{path} {pieces}", "```", ""]
        options = [param for param in command.params if isinstance(param, click.Option)]
        if options:
            lines += ["| Option | |", "|---|---|"]
            lines += [f"| {_option(option)} | {_help(option, context)} |" for option in options]
            lines += [""]
        if command.epilog:
            lines += ["```text", inspect.cleandoc(command.epilog.replace("\b", "")), "```", ""]
    return "\n".join(lines)


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, with the words that call each."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, f"{path} {name}")


def _prose(words: str) -> str:
    paragraphs = inspect.cleandoc(words).split("\n\n")
    return "\n\n".join(
        f"```text\n{paragraph.removeprefix(chr(8)).strip()}\n```"
        if paragraph.startswith("\b")
        else _outside_code(" ".join(paragraph.split()).replace("<", "&lt;"))
        for paragraph in paragraphs
    )


def _option(option: click.Option) -> str:
    names = [f"`{name}`" for name in [*option.opts, *option.secondary_opts]]
    if option.is_flag or option.count:
        return ", ".join(names)
    metavar = option.make_metavar(click.Context(cli)).replace("|", "\\|")
    return f"{', '.join(names)} `{metavar}`"


def _help(option: click.Option, context: click.Context) -> str:
    words = _text(option.help or "")
    default = option.get_default(context, call=False)
    if option.show_default and default not in (None, ()) and not callable(default):
        return f"{words} Default: `{default}`."
    return words


def exit_codes() -> str:
    """Every exit code and its cause."""
    codes = {0: "Success.", 1: "Failure of another kind.", errors.USAGE: "Wrong usage."}
    codes[errors.INTERRUPTED] = "Interrupted by a signal. Finished work is kept."
    for error in classes():
        if error.exit_code not in codes or error.__base__ is errors.EdgeimgError:
            codes[error.exit_code] = _prose(error.__doc__ or "")
    lines = ["# Exit codes", "", "Generated from the program.", "", "| Code | |", "|---:|---|"]
    return "\n".join([*lines, *(f"| `{code}` | {codes[code]} |" for code in sorted(codes)), ""])


def classes() -> list[type[errors.EdgeimgError]]:
    """The classes of errors, base class left out."""
    found = [value for value in vars(errors).values() if inspect.isclass(value)]
    return [c for c in found if issubclass(c, errors.EdgeimgError) and c is not errors.EdgeimgError]


def environment() -> str:
    """Every environment variable that edgeimg reads."""
    lines = ["# Environment", "", "| Variable | |", "|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{name}` | {text} |" for name, text in ENVIRONMENT.items()), ""]
    )


def variables() -> set[str]:
    """The names of environment variables in the code: constants, and keys of environ."""
    found = set()
    for path in (PROJECT / "builder/edgeimg").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"\bEDGEIMG_[A-Z0-9_]+\b", node.value))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _LOOKUPS and node.args:
                found.add(str(getattr(node.args[0], "value", "")))
            if isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
                found.add(str(getattr(node.left, "value", "")))
    return {name for name in found if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)}


_LOOKUPS = {"os.environ.get", "os.getenv", "env.get"}


def gateway_commands() -> str:
    """The programs that a technician calls on a gateway, with the usage that each prints."""
    lines = [
        "# Commands on the gateway",
        "",
        "Commands for a login by ssh. Each prints this text with `--help`.",
        "",
    ]
    for path in programs():
        lines += [f"## `{path.name}`", "", "```text", _head(path), "```", ""]
    return "\n".join(lines)


def programs() -> list[Path]:
    """The gateway's own commands, in all built-in overlays."""
    return sorted(path for path in OVERLAYS.glob("*/usr/bin/edgeimg-*") if path.is_file())


def _head(path: Path) -> str:
    """The usage that a shell script prints, else the comment at its top."""
    text = path.read_text()
    usage = re.search(r"cat <<'EOF'\n(.*?)\nEOF\n", text, re.DOTALL)
    if usage:
        return usage[1]
    comment = re.match(r"#!.*\n((?:#.*\n)*)", text)
    return textwrap.dedent(re.sub(r"^#", "", comment[1] if comment else "", flags=re.M)).strip()
