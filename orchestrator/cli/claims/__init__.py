"""``mrsweep claim``, ``verify`` and ``try``: what is said of the world, decided and certified."""
