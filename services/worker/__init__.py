"""The worker: control plane of one host, and the leaders of the groups it runs."""
