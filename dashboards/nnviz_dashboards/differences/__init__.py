"""What differs between A and B: channels, the strongest first."""
