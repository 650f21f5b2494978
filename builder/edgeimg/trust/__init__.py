"""Keys and signatures: GnuPG and OpenPGP."""
