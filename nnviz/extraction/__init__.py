"""Facts about instances, written by workers chunk by chunk."""
