"""QEMU: command lines as plain values, and the machines that run them."""
