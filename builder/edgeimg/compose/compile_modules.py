"""Compile Python modules; run by the Python that will read them: `compile_modules.py IN OUT`.

IN is shaped like the root of the image. For `IN/a/b.py` it writes `OUT/a/__pycache__/b.TAG.pyc`.
"""

import marshal
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

_UNCHECKED = 1
"""Flags of a file that is valid by a hash that nobody compares (PEP 552)."""
_FORMAT = 2
"""Of marshal: later ones write references by how often the process that compiles uses an object."""


def main() -> None:
    """Compile all. Ends with a traceback at a module that is no Python."""
    source, result = map(Path, sys.argv[1:])
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source)
        data = path.read_bytes()
        # Without PYTHONOPTIMIZE, and named as on the gateway.
        code = compile(data, f"/{name}", "exec", dont_inherit=True, optimize=0)
        target = result / cache_from_source(str(name), optimization="")
        target.parent.mkdir(parents=True, exist_ok=True)
        head = MAGIC_NUMBER + _UNCHECKED.to_bytes(4, "little") + source_hash(data)
        target.write_bytes(head + marshal.dumps(code, _FORMAT))


if __name__ == "__main__":
    main()
