"""A launch: which job is next, what it is given, and the executors that do it."""
