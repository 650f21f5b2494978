"""A release: finished images with their evidence and signatures, published at once."""
