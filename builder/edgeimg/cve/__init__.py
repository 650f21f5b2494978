"""Known vulnerabilities of the components in an SBOM."""
