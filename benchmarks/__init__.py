"""What prints our figures: run by hand, results committed in `results/` with date and machine."""
