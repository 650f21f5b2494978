"""The content-addressed cache, and how large it may grow."""
