"""The models of the two papers, each a `LayeredModel`, and their sizes as data."""
