"""Bytes from others: decompressed, taken apart and written within one set of limits."""
