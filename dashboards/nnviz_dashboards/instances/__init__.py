"""The instances of A and B: their pictures, and one that is opened."""
