"""The strip of layers."""
