"""Where a packet went, and where it should have gone."""
