"""What runs over one connection for long: exec, attach, logs, port-forward, proxy, capture."""
