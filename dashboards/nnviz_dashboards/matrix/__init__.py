"""What fires where: rows of classes, subsets and instances, columns of channels."""
