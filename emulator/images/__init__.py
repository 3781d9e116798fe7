"""What an image name runs, without a registry."""
