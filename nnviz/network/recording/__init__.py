"""The network on a worker: what a forward pass tells of every channel."""
