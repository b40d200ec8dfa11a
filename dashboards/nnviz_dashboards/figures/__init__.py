"""How are numbers drawn? Pure functions from arrays to Bokeh figures."""
