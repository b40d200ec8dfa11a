"""The channels of a layer, and their examples."""
