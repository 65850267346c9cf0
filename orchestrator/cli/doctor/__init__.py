"""``mrsweep doctor``: whether this machine can run sweeps, each part tried once."""
