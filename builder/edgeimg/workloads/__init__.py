"""What Kubernetes runs from the first boot on: images, and the objects that name them."""
