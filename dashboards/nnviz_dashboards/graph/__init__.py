"""The attribution graph."""
