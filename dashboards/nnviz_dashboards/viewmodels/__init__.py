"""What does each view show? Plain parameters, without Panel and Bokeh."""
