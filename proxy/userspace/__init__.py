"""The userspace mode: a relay behind one listening socket per frontend."""
