"""A recipe → its lock: which inputs, in which versions."""
