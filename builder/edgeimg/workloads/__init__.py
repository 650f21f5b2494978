"""Workloads of Kubernetes from the first boot on: pod images, and the objects that name them."""
