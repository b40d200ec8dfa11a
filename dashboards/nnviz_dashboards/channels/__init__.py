"""The channels of a layer: table and examples."""
