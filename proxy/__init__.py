"""Service traffic on one node, in the role of kube-proxy."""
