"""A board's files in their places, and everything that is wrong with a board, at once.

The boot loader has to count the starts of a new version. systemd-boot renames the UKI for that, so
U-Boot needs `CONFIG_FAT_RENAME`; its own configuration says whether it has it.
"""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from edgeimg import arch
from edgeimg.errors import RecipeError
from edgeimg.pack import uboot_script
from edgeimg.recipe.board import SECTOR, Board
from edgeimg.streams import decoding
from edgeimg.tree import Kind, Node, Tree, file

ADDON = "loader/addons/board.addon.efi"
"""What adds the board's words to the command line of every UKI (systemd-stub(7))."""
SCRIPT = "boot.scr"
"""Where U-Boot looks for a script."""
COUNTS = "FAT_RENAME"
"""The option of U-Boot without which systemd-boot cannot count (U-Boot 2025.04 and later)."""
_WATCHDOG = re.compile(r"systemd\.watchdog_sec=(\d+)(s|sec|min|h)?")
_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600}
_MODES = {"arm64": ("ARM64",), "arm": ("ARM",), "x86-64": ("X86_64", "X86")}
"""Options by which U-Boot's configuration names an architecture."""
Span = tuple[int, int, str]
"""First byte, byte behind the last, and what is there."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """What a board needs besides systemd-boot and UKI."""

    raw: Mapping[int, Node]
    """By the byte of the disk where it begins."""
    esp: Mapping[str, Node]
    """By its path in the EFI system partition."""
    words: Sequence[str]
    """Added to the kernel command line."""


def loader(
    board: Board, files: Tree, *, cmdline: Sequence[str] = (), esp: int | None = None
) -> Loader:
    """The files of `board` out of `files`: its packages and what the project has.

    `cmdline` are the recipe's words, `esp` is the size of the EFI system partition in bytes. Raises
    RecipeError with one line for each problem.
    """
    problems = check(board, files, cmdline=cmdline, esp=esp)
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        count = f"{len(problems)} error{'s' if len(problems) > 1 else ''}"
        raise RecipeError(f"the board {board.name} has {count}{lines}")
    texts = {path: file(text.encode()) for path, text in board.text.items()}
    if board.script is not None:
        script = uboot_script.make(board.script, arch=arch.find_arch(board.arch))
        texts[SCRIPT] = file(script)
    return Loader(
        raw={at: files[_fits(files, name)[0]] for at, name in board.raw.items()},
        esp={path: files[source] for path, source in _esp(board, files)} | texts,
        words=board.words,
    )


def emulator_files(board: Board, files: Tree) -> dict[str, Node]:
    """The files that QEMU loads for the board, by the name of QEMU's option.

    Raises RecipeError when one is missing.
    """
    nodes = {}
    for option, name in board.emulator_files.items():
        found = _fits(files, name)
        if len(found) != 1:
            problem = _missing(f"qemu.{option}", name, files)
            raise RecipeError(f"the board {board.name}: {problem}")
        nodes[option] = files[found[0]]
    return nodes


def check(
    board: Board, files: Tree, *, cmdline: Sequence[str] = (), esp: int | None = None
) -> list[str]:
    """Everything that is wrong with `board`, one line each; see `loader`. Pure."""
    return [
        *_lacking(board, files),
        *_collisions(board, files),
        *_repairs(board, files),
        *_environment(board, files),
        *_esp_names(board, files),
        *_esp_size(board, files, esp),
        *_boot_loader(board, files),
        *_watchdog(board, _options(board, files), cmdline),
    ]


def _lacking(board: Board, files: Tree) -> Iterator[str]:
    wanted = [(f'raw."{at}"', name, True) for at, name in board.raw.items()]
    wanted += [(f'esp."{to}"', name, not _many(to)) for to, name in board.esp.items()]
    wanted += [("config", board.config, True)] if board.config else []
    wanted += [(f"qemu.{option}", name, True) for option, name in board.emulator_files.items()]
    for key, name, single in wanted:
        found = _fits(files, name)
        if not found:
            yield _missing(key, name, files)
        elif single and len(found) > 1:
            yield f"{key}: {name} fits {len(found)} files, expected one"
    if not (board.raw or board.esp or board.emulator_files):
        yield "raw, esp: no boot loader has a place"


def _missing(key: str, name: str, files: Tree) -> str:
    near = difflib.get_close_matches(name, [path for path, _ in files.items()], n=1, cutoff=0.6)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"{key}: neither packages nor files of the board hold {name}{guess}"


def _collisions(board: Board, files: Tree) -> Iterator[str]:
    spans = list(_spans(board, files))
    for one, other in itertools.combinations(sorted(spans), 2):
        if other[0] < one[1]:
            yield (
                f"{one[2]} (bytes {one[0]} to {one[1]}) and {other[2]} (bytes {other[0]} to "
                f"{other[1]}) overlap"
            )
    for at in board.raw:
        if at % SECTOR:
            yield f'raw."{at}": expected a multiple of {SECTOR} bytes'


def _repairs(board: Board, files: Tree) -> Iterator[str]:
    """Files in the last bytes before the first partition.

    gdisk(8) puts the entries there when it makes the first table from the second.
    """
    start = board.first - board.table_end + board.table * SECTOR
    for at, name in board.raw.items():
        for path in _fits(files, name)[:1]:
            if start < (end := at + files[path].size) <= board.first:
                yield (
                    f"raw file {PurePosixPath(path).name} (bytes {at} to {end}) ends behind byte "
                    f"{start}, where gdisk repairs the GPT: set a larger `first`"
                )


def _spans(board: Board, files: Tree) -> Iterator[Span]:
    yield 0, 2 * SECTOR, "the GPT's header"
    yield board.table * SECTOR, board.table_end, f"the GPT's {board.entries} entries"
    yield board.first, 1 << 62, "the first partition"
    for at, name in board.raw.items():
        for path in _fits(files, name)[:1]:
            yield at, at + files[path].size, f"raw file {PurePosixPath(path).name}"


def _environment(board: Board, files: Tree) -> Iterator[str]:
    """Where U-Boot would save its settings; some files leave a gap there."""
    options = _options(board, files)
    if options.get("ENV_IS_IN_MMC") != "y" or "ENV_OFFSET" not in options:
        return
    start, size = int(options["ENV_OFFSET"], 0), int(options.get("ENV_SIZE", "0"), 0)
    for first, end, what in _spans(board, files):
        place = f"U-Boot's environment (bytes {start} to {start + size})"
        if max(first, start) >= min(end, start + size):
            continue
        if (name := board.raw.get(first)) is not None:
            data = files[_fits(files, name)[0]].read()
            # Zeros, or what flash has before it is written.
            if set(data[max(0, start - first) : start + size - first]) in ({0}, {255}):
                continue
        yield f"{place} and {what} (bytes {first} to {end}) overlap"


def _esp_names(board: Board, files: Tree) -> Iterator[str]:
    names = [path for path, _ in _esp(board, files)] + list(board.text)
    names += [SCRIPT] if board.script is not None else []
    efi = arch.find_arch(board.arch).efi
    own: tuple[str, ...] = (
        f"efi/boot/boot{efi}.efi",
        f"efi/systemd/systemd-boot{efi}.efi",
        "efi/linux/",
    )
    own = (*own, "loader/loader.conf", ADDON)
    seen: set[str] = set()
    for name in names:
        # FAT makes no difference between capitals and small letters.
        if not name or name.endswith("/"):
            yield f'text."{name}": expected the path of a file'
        elif name.lower().startswith(own):
            yield f'esp."{name}": edgeimg has a file of its own there'
        elif name.lower() in seen:
            yield f'esp."{name}": two files have this place'
        seen.add(name.lower())
    for name in names:
        if any(other.startswith(f"{name.lower()}/") for other in (*seen, *own)):
            yield f'esp."{name}": other files have this place as their directory'


def _esp_size(board: Board, files: Tree, size: int | None) -> Iterator[str]:
    sizes = {path: files[source].size for path, source in _esp(board, files)}
    total = sum(sizes.values()) + sum(len(text.encode()) for text in board.text.values())
    if size is not None and total > size:
        largest = max(sizes, key=lambda path: (sizes[path], path), default="text")
        yield (
            f"esp: its files have {total} bytes, more than the EFI system partition's {size} "
            f"([image] esp); the largest is {largest}"
        )


def _boot_loader(board: Board, files: Tree) -> Iterator[str]:
    by_initrd = board.counting == "initrd"
    if board.config is None and not by_initrd:
        yield (
            "config: is missing: name the boot loader's build configuration, which shows whether "
            'it can count starts, or let the initrd count: counting = "initrd"'
        )
    options = _options(board, files)
    if not options:
        return
    if options.get(COUNTS) == "y" and by_initrd:
        yield (
            f"counting: the boot loader is built with CONFIG_{COUNTS} and counts, so each start "
            'would count twice; leave out counting = "initrd"'
        )
    elif options.get(COUNTS) != "y" and not by_initrd:
        yield (
            f"config: the boot loader is built without CONFIG_{COUNTS}: it cannot count the starts "
            "of a new version, so a bad update would start for ever; take U-Boot 2025.04 or later, "
            'or let the initrd count: counting = "initrd"'
        )
    known = [
        name for name, modes in _MODES.items() if any(options.get(mode) == "y" for mode in modes)
    ]
    if known and known[0] != board.arch:
        yield f"arch: the board is {board.arch}, its boot loader is built for {known[0]}"


def _watchdog(board: Board, options: Mapping[str, str], cmdline: Sequence[str]) -> Iterator[str]:
    if board.watchdog is None:
        return
    known = int(options.get("WATCHDOG_TIMEOUT_MSECS", "0"), 0)
    if 0 < known < board.watchdog * 1000:
        yield f"watchdog: {board.watchdog} s is more than the boot loader's {known / 1000:g} s"
    for word in (*board.cmdline, *cmdline):
        if match := _WATCHDOG.fullmatch(word):
            seconds = int(match[1]) * _UNITS[match[2] or "s"]
            if seconds > board.watchdog:
                yield f"watchdog: {word} is more than the {board.watchdog} s of the board"


def _options(board: Board, files: Tree) -> dict[str, str]:
    """The options of the boot loader's configuration that are set, without `CONFIG_`."""
    found = _fits(files, board.config) if board.config else []
    if not found:
        return {}
    data = files[found[0]].read()
    method = decoding.recognise(data)
    text = decoding.unpacked(data, found[0], method=method).decode(errors="replace")
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name.removeprefix("CONFIG_"): value.strip('"') for name, _, value in pairs}


def _esp(board: Board, files: Tree) -> Iterator[tuple[str, str]]:
    """Path in the EFI system partition and file, of all that `esp` names."""
    for to, name in board.esp.items():
        for path in _fits(files, name):
            yield (to + PurePosixPath(path).name if _many(to) else to), path


def _many(to: str) -> bool:
    return to == "" or to.endswith("/")


def _fits(files: Tree, name: str) -> list[str]:
    """The files that a glob fits; `*` stays within a directory, links are followed."""
    parts = name.split("/")
    return [
        files.resolve(path)
        for path, node in files.items()
        if node.kind is not Kind.DIRECTORY
        and len(here := path.split("/")) == len(parts)
        and all(map(fnmatch.fnmatchcase, here, parts))
        and (target := files.get(files.resolve(path))) is not None
        and target.kind is Kind.FILE
    ]
