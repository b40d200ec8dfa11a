"""What the page, a notebook, a bundle and the command line read."""
