"""What plugins are made of: their options, rules and peers."""
