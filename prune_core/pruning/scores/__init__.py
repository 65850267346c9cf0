"""Which units go first: criteria, and the signals of weights, gradients and maps that they read."""
