"""All views put together for one visitor."""
