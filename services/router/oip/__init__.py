"""The Open Inference Protocol, version 2: another door to the same dispatcher."""
