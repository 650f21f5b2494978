"""Tree → Tree: the work of a package manager and its scripts, done on values."""
