"""Everything that touches the outside, once."""
