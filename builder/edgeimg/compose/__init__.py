"""Tree → Tree: what a package manager and its scripts would have done, done as data."""
