"""Plans whose groups may serve several requests of a model at once."""

from collections.abc import Sequence
from dataclasses import replace

from services.core.batched_simulator import attained_share
from services.core.errors import InvalidArgument
from services.core.problem import Problem
from services.planner.policies.clockwork import CLOCKWORK
from services.planner.policies.plan import Plan


def check_batches(max_batch_size: int, policies: Sequence[str]) -> None:
    """Raises: InvalidArgument for batches, if a policy's placements follow each other."""
    if max_batch_size > 1 and CLOCKWORK in policies:
        raise InvalidArgument(
            f"{CLOCKWORK} plans windows, which are served one request at a time, not up to {max_batch_size}"
        )


def with_batches(plan: Plan, problem: Problem, max_batch_size: int) -> Plan:
    """The plan, its groups allowed so many requests at once. It was searched for requests one by one;
    what it attains is told with the batches.

    Raises: InvalidArgument for a plan whose placements follow each other.
    """
    check_batches(max_batch_size, [plan.policy])
    if max_batch_size == 1:
        return plan
    placement = replace(plan.placement, max_batch_size=max_batch_size)
    return replace(plan, placement=placement, attainment=attained_share(problem, placement))
