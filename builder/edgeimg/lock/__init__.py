"""The contents of a lock, and its file."""
