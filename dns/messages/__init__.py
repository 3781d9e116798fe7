"""DNS messages: what they say, and as bytes."""
