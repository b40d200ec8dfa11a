"""Stores looked after: verified, recomputed, extended, inspected."""
