"""A CNI plugin: pods get their interface, address and routes. Starts once per pod, so it imports nothing heavy."""
