"""What a machine is made of, and what an image has for it: drivers and firmware."""
