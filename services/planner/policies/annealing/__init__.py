"""Our local search over placements: simulated annealing, compiled, in chains that run side by side."""
