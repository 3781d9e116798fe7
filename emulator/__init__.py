"""The emulated cluster: everything that Kubernetes itself would run."""
