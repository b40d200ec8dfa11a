"""Which class is taken for which: a table from which A and B are picked."""
