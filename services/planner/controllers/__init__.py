"""When to re-place: controllers that watch the traffic, and decide by simulation. Pure."""
