"""The map of the instances: what they resemble, with A and B."""
