"""The installer: this machine, its internal disk, and the row of a fleet that it becomes.

It chooses; writing is the work of `flash` and `fleet`.
"""
