"""edgeimg builds operating system images for edge gateways."""

__version__ = "0.2.0"
