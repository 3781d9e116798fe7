"""The control loops that keep the cluster's objects true."""
