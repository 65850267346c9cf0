"""The verdict in sentences, its conditions, and what speaks against it."""
