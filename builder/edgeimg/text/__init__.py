"""What people write, TOML and YAML, as values with line numbers."""
