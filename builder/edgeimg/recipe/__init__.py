"""TOML → Recipe: the frozen, validated description of an image."""
