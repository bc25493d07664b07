"""The intra-operator pass: how each operator of a stage is split over the stage's devices (Alpa, section 4)."""
