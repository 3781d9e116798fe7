"""What goes with what: dependents with their owners, contents with their namespace."""
