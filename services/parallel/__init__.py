"""Models as layers, cut into stages and run on sub-meshes: Alpa's two passes on modern JAX."""
