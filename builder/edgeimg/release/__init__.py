"""A release: finished images with everything that lets others trust them, published at once."""
