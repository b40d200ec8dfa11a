"""What the network did with one instance, asked of the network itself."""
