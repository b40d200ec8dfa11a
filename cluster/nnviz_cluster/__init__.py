"""Where does a Dask client come from? One context manager for each kind of cluster."""
