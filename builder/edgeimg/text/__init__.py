"""TOML and YAML files of people as values with line numbers."""
