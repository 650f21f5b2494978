"""What a finished image file is: its manifest, its block map, its names."""
