"""Data files: the schema of the API, derived by tools/build_schema.py."""
