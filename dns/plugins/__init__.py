"""The plugins: one file each, with a `setup` that reads its stanza."""
