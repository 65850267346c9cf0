"""Data sets: read from where they lie, decoded once, split, and augmented on the device."""
