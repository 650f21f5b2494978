"""Known vulnerabilities of what an SBOM lists."""
