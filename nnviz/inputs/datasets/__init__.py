"""Readers of data sets, and what all of them have in common."""
