"""The leader of a group: queue, admission, stage clocks, and the data plane routers talk to."""
