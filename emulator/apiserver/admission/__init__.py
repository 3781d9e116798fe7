"""What an object must be to be stored: defaults, allocation, validation, warnings."""
