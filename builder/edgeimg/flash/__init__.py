"""Writing an image to the disk of a gateway, and to no other."""
