"""System services as containers: their contents, and how they run."""
