"""How placements are found. Pure: numpy and the simulator, no clock, no I/O."""
