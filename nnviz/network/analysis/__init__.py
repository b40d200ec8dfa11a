"""One forward pass taken apart: operations, layers, edges, and what is tied to what."""
