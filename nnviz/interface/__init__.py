"""What does a person call from Python? Every stage, and what one asks of a store."""
