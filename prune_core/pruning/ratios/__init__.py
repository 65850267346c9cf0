"""How much of each module goes: sensitivities, allocations, and the search that meets a budget."""
