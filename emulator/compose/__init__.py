"""The control plane of a cluster whose pods are containers: what runs in the service `api`."""
