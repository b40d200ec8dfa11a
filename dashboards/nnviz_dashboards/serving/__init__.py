"""The server that lets visitors in."""
