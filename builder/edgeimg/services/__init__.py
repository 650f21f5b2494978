"""System services as containers: what they are made of, and how they are run."""
