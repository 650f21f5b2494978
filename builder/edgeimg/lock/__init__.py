"""What a lock holds, and its file."""
