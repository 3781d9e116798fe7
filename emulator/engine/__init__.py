"""The Docker Engine, over its API: containers, images, events, streams."""
