"""The program: `edgeimg`, and `python -m edgeimg`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line.

    Until it handles signals, Ctrl-C ends the program without Python's traceback of an import.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from edgeimg import cli

    cli.main()


if __name__ == "__main__":
    main()
