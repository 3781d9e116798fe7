"""Custom resources: their definitions, schemas, validation and columns."""
