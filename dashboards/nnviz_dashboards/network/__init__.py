"""The network: its tensors and operations, in blocks."""
