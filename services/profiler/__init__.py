"""The profiler: measures models under parallel configs, on the executor that serves them."""
