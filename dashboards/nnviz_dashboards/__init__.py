"""What does a store show? The dashboards of nnviz, served by ``nnviz serve``."""
