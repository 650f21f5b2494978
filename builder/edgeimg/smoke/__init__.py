"""Boots a guest until a pod runs, and judges the results."""
