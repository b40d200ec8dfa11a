"""Pure functions from aggregates to artifacts."""
