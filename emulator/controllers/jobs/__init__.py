"""Pods that are to end: Jobs, and CronJobs that make them."""
