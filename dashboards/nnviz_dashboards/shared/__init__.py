"""The selection, the theme, and what components have in common."""
