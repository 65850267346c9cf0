"""Attacks on trained networks, and what a network is worth under them; corruptions and checks."""
