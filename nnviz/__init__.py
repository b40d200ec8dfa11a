"""nnviz: what has this network learned, over all of its data?"""

__version__ = "0.1.0"
