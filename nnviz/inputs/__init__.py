"""What is looked at: data sets, networks, subsets."""
