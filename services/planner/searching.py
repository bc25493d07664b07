"""How a request wants its plans searched, and how far its searches are."""

import os
import threading
from collections.abc import Sequence
from time import monotonic

from alpaserve.v1 import planner_pb2

from services.core.placement import DEFAULT_DISPATCH
from services.core.problem import Problem
from services.infra.wire import duration_s
from services.planner.policies.batches import check_batches, with_batches
from services.planner.policies.clockwork import DEFAULT_WINDOW_S
from services.planner.policies.plan import (
    DEFAULT_POLICY,
    RESAMPLES_ARE_FOR,
    WINDOW_IS_FOR,
    Plan,
    check_used,
    find_policy,
    make_plan,
    warm_up,
)
from services.planner.policies.search import DEFAULT_CHAINS, Limits, Pool, Search

# What is planned from the last window's arrivals is for the next one's.
_LIVE_RESAMPLES = 2


def num_resamples(request: planner_pb2.PlanRequest) -> int:
    """How many workloads beside the request's own its plan is to be made for."""
    if request.HasField("num_resamples"):
        return request.num_resamples
    return _LIVE_RESAMPLES if request.workload.WhichOneof("source") in (None, "live") else 0


class Searching:
    """The searches of one request, in threads beside the event loop, until they are cancelled."""

    def __init__(self, request: planner_pb2.PlanRequest, time_budget_s: float, pool: Pool) -> None:
        """Raises: InvalidArgument for an unknown policy or limits that are none."""
        self.policy = request.policy or DEFAULT_POLICY
        find_policy(self.policy)
        self.limits = Limits(request.max_simulations or None, self._share_of_time)
        self.seed = request.seed
        self.max_batch_size = request.max_batch_size or 1
        self.attainment = 0.0
        self._request = request
        self._dispatch = request.dispatch or DEFAULT_DISPATCH
        self._window_s = duration_s(request.window, "window") if request.HasField("window") else DEFAULT_WINDOW_S
        self._num_resamples = num_resamples(request)
        self._num_chains = DEFAULT_CHAINS if request.max_simulations else max(DEFAULT_CHAINS, os.cpu_count() or 1)
        self._time_budget_s = time_budget_s
        self._pool = pool
        self._is_cancelled = threading.Event()
        self._began_s = monotonic()
        self._lock = threading.Lock()
        self._warming = threading.Lock()
        self._is_warm: set[str] = set()
        self._running: list[Search] = []
        self._num_finished = 0

    def check_used(self, policies: Sequence[str]) -> None:
        """Raises: InvalidArgument for what the request gives and none of the policies uses, or one cannot."""
        check_batches(self.max_batch_size, policies)
        if self._request.HasField("window"):
            check_used("window", WINDOW_IS_FOR, policies)
        if self._request.HasField("num_resamples"):
            check_used("num_resamples", RESAMPLES_ARE_FOR, policies)

    @property
    def elapsed_s(self) -> float:
        return monotonic() - self._began_s

    @property
    def num_simulations(self) -> int:
        """Of all searches so far."""
        with self._lock:
            return self._num_finished + sum(search.num_simulations for search in self._running)

    def make(self, problem: Problem, limits: Limits) -> Plan:
        """A plan by the request's policy. Raises: what the policy raises."""
        return self.make_by(self.policy, problem, limits)

    def make_by(self, policy: str, problem: Problem, limits: Limits, pool: Pool | None = None) -> Plan:
        """A plan by any policy, its parts run by a pool of its own where one is given."""
        self._warm_up(policy, problem)
        search = Search(
            problem,
            self._dispatch,
            self.seed,
            limits,
            self._note,
            pool or self._pool,
            num_resamples=self._num_resamples,
            num_chains=self._num_chains,
        )
        self.attainment = 0.0
        with self._lock:
            self._running.append(search)
        try:
            return with_batches(make_plan(policy, search, self._window_s), problem, self.max_batch_size)
        finally:
            with self._lock:
                self._running.remove(search)
                self._num_finished += search.num_simulations

    def _warm_up(self, policy: str, problem: Problem) -> None:
        """Compile what the policy runs; the search's time begins afterwards."""
        with self._warming:
            if policy not in self._is_warm:
                began_s = monotonic()
                warm_up(policy, problem)
                self._is_warm.add(policy)
                self._began_s += monotonic() - began_s

    def cancel(self) -> None:
        """Searches under way end soon, with what they have."""
        self._is_cancelled.set()

    def _share_of_time(self) -> float:
        return 1.0 if self._is_cancelled.is_set() else self.elapsed_s / self._time_budget_s

    def _note(self, attainment: float, num_simulations: int) -> None:
        self.attainment = attainment
