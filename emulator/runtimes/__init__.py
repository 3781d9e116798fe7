"""What runs pods: network namespaces, containers, or an in-memory fake."""
