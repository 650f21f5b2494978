"""edgeimg, with its calls of some functions counted: python -m tests.counting FILE NAMES COMMAND…

`NAMES` are functions with their modules, with commas between them. The functions run as they are.
`FILE` gets the counts as JSON when the command ends.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any


def count(name: str, calls: Counter[str]) -> None:
    """Count the calls of one function, by whatever name the loaded modules know it."""
    module, _, attribute = name.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[name] += 1
        return function(*args, **kwargs)

    for loaded in list(sys.modules.values()):
        for key, value in list(vars(loaded).items()):
            if value is function:
                setattr(loaded, key, counted)


def main() -> None:
    """Run edgeimg and write the counts, however it ends."""
    from edgeimg import cli

    path, names, *arguments = sys.argv[1:]
    calls: Counter[str] = Counter()
    for name in names.split(","):
        calls[name] = 0
        count(name, calls)
    sys.argv = ["edgeimg", *arguments]
    try:
        cli.main()
    finally:
        Path(path).write_text(json.dumps(calls))


if __name__ == "__main__":
    main()
