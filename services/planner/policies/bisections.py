"""The fewest devices for a target, and the most load at it.

Both are bisections over what searches find, which is not monotonous for certain: what is told is the
best that was tried and reached the target, with everything that was tried. An upper bound below the
target spares a search.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from services.core.errors import InvalidArgument, InvalidWorkload, NotPlaced
from services.core.problem import Problem, pose
from services.core.spec import Spec
from services.planner.policies.plan import Plan
from services.planner.policies.questions import DEFAULT_PRECISION, Capacity, FewestDevices, Probe, Target, Vary
from services.planner.policies.variations import MOST_REQUESTS, is_over, on_devices, scaled, share_of

# As far as a load is scaled up and down.
_MOST_SCALE = {"rate": 1024.0, "cv": 64.0}
_LEAST_SCALE = 1 / 64
# Doublings or halvings until a load is bracketed, as a rule.
_USUAL_DOUBLINGS = 4


def fewest_devices(problem: Problem, target: Target) -> FewestDevices:
    """Whole nodes first, then within the last one, down from the whole cluster.

    Raises: what the policy raises on the whole cluster.
    """
    return _Shrinking(problem, target).run()


class _Prober:
    """The probes of one question; each has an equal share of the limits."""

    def __init__(self, target: Target, num_searches: int) -> None:
        self.target = target
        self.probes: list[Probe] = []
        self._num_searches = num_searches

    @property
    def is_over(self) -> bool:
        return is_over(self.target.limits)

    def probe(self, value: float, problem: Problem, needs_plan: bool = False) -> tuple[Probe, Plan | None]:
        """Plan, unless the bound makes that useless. Raises: what the policy raises if a plan is needed."""
        upper_bound = self.target.bound(problem)
        plan = None
        is_hopeless = upper_bound is not None and upper_bound < self.target.attainment
        if needs_plan or not is_hopeless:
            plan = self._plan(problem, needs_plan)
        attainment = None if is_hopeless and plan is None else 0.0 if plan is None else plan.attainment
        num_simulations = 0 if plan is None else plan.num_simulations
        probe = Probe(value, rate_per_s(problem), attainment, upper_bound, num_simulations)
        self.probes.append(probe)
        self.target.on_probe(probe)
        return probe, None if plan is None else replace(plan, upper_bound=upper_bound)

    def _plan(self, problem: Problem, is_needed: bool) -> Plan | None:
        try:
            return self.target.make(problem, share_of(self.target.limits, self._num_searches))
        except (NotPlaced, InvalidArgument):
            # A config may be too wide for fewer devices.
            if is_needed:
                raise
            return None

    def is_reached(self, probe: Probe) -> bool:
        return probe.attainment is not None and probe.attainment >= self.target.attainment


class _Shrinking(_Prober):
    """Where the search for the fewest devices stands."""

    def __init__(self, problem: Problem, target: Target) -> None:
        cluster = problem.spec.cluster
        self._problem = problem
        self._per_node = cluster.devices_per_node
        self._fewest = (fewest_nodes(problem.spec) - 1) * self._per_node + 1
        self._size = cluster.num_devices
        self._plan_found: Plan | None = None
        self._tried: dict[int, bool] = {}
        self._ruled_out = 0
        bisections = cluster.num_nodes.bit_length() + min(self._per_node, cluster.num_devices).bit_length()
        super().__init__(target, bisections + 2)

    def run(self) -> FewestDevices:
        reached = self._reaches(self._size)
        if reached:
            per_node = self._per_node
            self._bisect(range(-(-self._fewest // per_node) * per_node, self._size, per_node))
            self._bisect(range(max((self._size - 1) // per_node * per_node + 1, self._fewest), self._size))
            self._look_below()
        if self._plan_found is None:
            raise AssertionError("the whole cluster has a plan")
        return FewestDevices(self._plan_found, self._size, reached, tuple(self.probes))

    def _bisect(self, sizes: Sequence[int]) -> None:
        """The smallest of these that reaches the target, if more devices never do worse."""
        low, high = 0, len(sizes)
        while low < high:
            middle = (low + high) // 2
            if self._reaches(sizes[middle]):
                high = middle
            else:
                low = middle + 1

    def _look_below(self) -> None:
        """A search may have missed what a smaller one finds: the next size down has a chance of its own."""
        for size in range(self._size - 1, max(self._fewest, self._ruled_out + 1) - 1, -1):
            if size not in self._tried and not self._reaches(size):
                return

    def _reaches(self, size: int) -> bool:
        is_whole = size == self._problem.spec.cluster.num_devices
        if size not in self._tried and (is_whole or not self.is_over):
            probe, plan = self.probe(size, on_devices(self._problem, size), needs_plan=is_whole)
            self._tried[size] = self.is_reached(probe)
            if probe.attainment is None:
                self._ruled_out = max(self._ruled_out, size)
            if is_whole or (self._tried[size] and size < self._size):
                self._size, self._plan_found = size, plan
        return self._tried.get(size, False)


def capacity(
    problem: Problem, vary: Vary, target: Target, seed: int = 0, precision: float = DEFAULT_PRECISION
) -> Capacity:
    """The highest scale of the workload's rate, or of its gaps' CV, that the cluster sustains: doubled or
    halved until it is bracketed, then bisected until the bracket's ends differ by `precision`.

    Raises: InvalidArgument for a precision that is none, what the policy raises on the workload as it is.
    """
    if not (math.isfinite(precision) and 0 < precision <= 1):
        raise InvalidArgument(f"a precision must be above 0 and at most 1, got {precision!r}")
    return _Scaling(problem, vary, target, seed, precision).run()


class _Scaling(_Prober):
    """Where the search for the highest load stands: `low` reached the target, `high` did not."""

    def __init__(self, problem: Problem, vary: Vary, target: Target, seed: int, precision: float) -> None:
        self._problem = problem
        self._vary = vary
        self._seed = seed
        self._precision = precision
        self._low: tuple[Probe, Plan] | None = None
        self._high = math.inf
        bisections = math.ceil(math.log2(max(math.log(2) / math.log1p(precision), 1)))
        super().__init__(target, 1 + _USUAL_DOUBLINGS + bisections)

    def run(self) -> Capacity:
        scale = 1.0
        if self._reaches(scale):
            while self._may_be(scale * 2) and self._reaches(scale * 2):
                scale *= 2
        else:
            while scale / 2 >= _LEAST_SCALE and not self.is_over and not self._reaches(scale / 2):
                scale /= 2
        while self._low is not None and self._is_wide(self._low[0].value) and not self.is_over:
            self._reaches(math.sqrt(self._low[0].value * self._high))
        if self._low is None:
            return Capacity(None, None, None, False, tuple(self.probes))
        probe, plan = self._low
        return Capacity(probe.value, probe.rate_per_s, plan, math.isinf(self._high), tuple(self.probes))

    def _is_wide(self, low: float) -> bool:
        return math.isfinite(self._high) and self._high > low * (1 + self._precision)

    def _may_be(self, scale: float) -> bool:
        is_small = self._vary is Vary.CV or len(self._problem.workload) * scale <= MOST_REQUESTS
        return scale <= _MOST_SCALE[self._vary] and is_small and not self.is_over

    def _reaches(self, scale: float) -> bool:
        rate_scale, cv_scale = (scale, 1.0) if self._vary is Vary.RATE else (1.0, scale)
        try:
            workload = scaled(self._problem.workload, rate_scale, cv_scale, self._seed)
            problem = pose(self._problem.spec, self._problem.profiles, workload)
        except InvalidWorkload:
            # So few requests that none is left.
            return False
        probe, plan = self.probe(scale, problem, needs_plan=scale == 1)
        if plan is None or not self.is_reached(probe):
            self._high = min(self._high, scale)
            return False
        self._low = probe, plan
        return True


def rate_per_s(problem: Problem) -> float:
    """Requests over the span of their arrivals, 0 without one."""
    span_s = problem.workload.span_s
    return len(problem.workload) / span_s if span_s > 0 else 0.0


def fewest_nodes(spec: Spec) -> int:
    """Nodes that models ask for by number or by name."""
    named = (max(model.nodes, default=0) + 1 for model in spec.models if model.nodes is not None)
    return max(1, *named, *(model.min_nodes for model in spec.models))
