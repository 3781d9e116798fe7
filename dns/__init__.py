"""Cluster DNS, in the role of CoreDNS."""
