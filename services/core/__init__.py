"""The pure part: the rule, placements, profiles, workloads, simulation. No clock, no I/O."""
