"""Networks: their architectures, from libraries or our own, and what is done to a whole network."""
