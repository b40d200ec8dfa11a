"""What taking channels away does to the network's outputs."""
