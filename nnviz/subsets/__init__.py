"""Named sets of instances."""
