"""edgeimg: builds minimal, immutable, container-based OS images for edge gateways."""
