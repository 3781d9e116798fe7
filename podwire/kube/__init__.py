"""The vocabulary that all parts share: objects, client, informer, loop."""
