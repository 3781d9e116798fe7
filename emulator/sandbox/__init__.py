"""The namespaces that everything lives in, and the process that forks into them."""
