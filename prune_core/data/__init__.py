"""Data sets: how they are read, decoded once, divided into splits, and augmented."""
