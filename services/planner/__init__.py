"""The planner: decides what runs where, and changes it under traffic."""
