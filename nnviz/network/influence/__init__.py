"""Exact contributions of source channels to target channels."""
