"""The Corefile: its words, and the servers that it describes."""
