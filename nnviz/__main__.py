"""Run the command line as ``python -m nnviz``."""

from __future__ import annotations

from nnviz.cli.main import main

if __name__ == "__main__":
    main()
