"""Finished images, read from their files alone."""
