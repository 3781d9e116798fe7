"""A CNI plugin: pods get interface, address and routes. A process per pod: nothing heavy here."""
