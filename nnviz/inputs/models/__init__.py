"""Networks from files, callables and zoos."""
