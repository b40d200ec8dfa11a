"""Sums over subsets, stored and queried."""
