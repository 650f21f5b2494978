"""Many gateways from one image and one file: who is who, what was flashed, what is printed."""
