"""Claims: statements about the world, decided by designs that were written down beforehand."""
