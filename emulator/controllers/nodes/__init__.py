"""Which node a pod comes to, and what becomes of it when its node changes."""
