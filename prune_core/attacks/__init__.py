"""Attacks and corruptions by name, the accuracy of a network under them, and sanity checks."""
