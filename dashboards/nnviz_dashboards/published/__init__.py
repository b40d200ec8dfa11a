"""Graphs that SUMMIT published, without a run."""
