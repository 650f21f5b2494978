"""`python -m edgeimg`."""

from edgeimg.cli import main

if __name__ == "__main__":
    main()
