"""The inter-operator pass: what a model's layers cost, and where to cut them into stages."""
