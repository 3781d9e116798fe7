"""What the objects of the cluster make DNS say."""
