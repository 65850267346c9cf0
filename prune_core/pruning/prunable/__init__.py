"""What of a network can be pruned: modules, their units, exact costs, and how units are removed."""
