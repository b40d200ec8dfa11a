"""The classes: embedding and list."""
