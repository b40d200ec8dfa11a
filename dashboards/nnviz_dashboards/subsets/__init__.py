"""Which instances are looked at: the subsets A and B, and what is said of them."""
