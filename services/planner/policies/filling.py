"""A fleet while it is filled, one replica after the other."""

import numpy as np

from services.planner.policies.search import Fleet, Replicas


class Filling:
    """The replicas so far, and what still fits beside them, kept up to date as replicas are added.

    `replicas` and `addable` (num_models, num_groups), `free_bytes` per device (num_groups,).
    """

    def __init__(self, fleet: Fleet, replicas: Replicas | None = None) -> None:
        """Starts from a copy of `replicas`, or empty."""
        self.fleet = fleet
        self.replicas = fleet.empty() if replicas is None else replicas.copy()
        self.free_bytes = fleet.free_bytes(self.replicas)
        self.addable = fleet.addable(self.replicas)

    def add(self, model: int, group: int) -> None:
        """Place a replica that is addable."""
        weight_bytes = self.fleet.weight_bytes[:, group]
        self.replicas[model, group] = True
        self.free_bytes[group] -= weight_bytes[model]
        self.addable[:, group] &= weight_bytes <= self.free_bytes[group]
        self.addable[model, group] = False

    def add_where_roomiest(self, model: int) -> int | None:
        """Place a model on the group with the most memory left and return it; None if it fits none."""
        room = np.where(self.addable[model], self.free_bytes, -1)
        group = int(np.argmax(room)) if len(room) else -1
        if group < 0 or room[group] < 0:
            return None
        self.add(model, group)
        return group
