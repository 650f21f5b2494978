"""Image → findings."""
