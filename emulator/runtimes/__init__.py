"""What runs pods: network namespaces, or an in-memory fake."""
