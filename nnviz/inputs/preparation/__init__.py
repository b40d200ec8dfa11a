"""From what a data set holds to the tensors that a network takes."""
