"""Pod and Service networking of Kubernetes, emulated on one machine with real packets."""

__version__ = "0.1.0"
