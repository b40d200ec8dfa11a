"""What a run is, as plain values: configuration, architecture, arrays, plan."""
