"""The planner's own page: what runs, why, and what if."""
