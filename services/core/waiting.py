"""Requests that wait in the router for a model that a transition has left without a group for a while.

They are dispatched when it is back, in the order in which they came, with what is left of their SLO.
"""

from collections.abc import Iterator, Set

import numpy as np

from services.core.kernel import Layout, Requests
from services.core.problem import Problem


class Waiting:
    """The waiting requests of a problem, and what dispatch sees of them: `requests`, with the instant at which they
    are taken as their arrival."""

    def __init__(self, problem: Problem) -> None:
        original = problem.requests
        self._arrival_s = original.arrival_s
        self._index_of = {name: index for index, name in enumerate(problem.spec.names)}
        self._held: list[int] = []
        self.requests = Requests(original.arrival_s.copy(), original.model, original.slo_s.copy())

    def hold(self, first: int, last: int, down: Set[str]) -> None:
        """Keep the requests first … last - 1 of models that are down."""
        if down:
            models = [self._index_of[name] for name in down]
            self._held.extend((first + np.flatnonzero(np.isin(self.requests.model[first:last], models))).tolist())

    def take(self, now_s: float, hosted: Layout) -> Iterator[int]:
        """The requests whose model is back now; those that come too late for their SLO are gone."""
        held, self._held = self._held, []
        for request in held:
            model = self.requests.model[request]
            if hosted.first_host[model] == hosted.first_host[model + 1]:
                self._held.append(request)
            else:
                waited_s = now_s - self._arrival_s[request]
                if waited_s <= self.requests.slo_s[request]:
                    self.requests.arrival_s[request] = now_s
                    self.requests.slo_s[request] -= waited_s
                    yield request

    def waited_s(self, request: int) -> float:
        return float(self.requests.arrival_s[request] - self._arrival_s[request])
