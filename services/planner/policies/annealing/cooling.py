"""Chains cooled together, leg by leg, until the budget is spent: rivals on each part of a problem,
of which the worse go on from where the better are; the parts have nothing to do with each other."""

from collections.abc import Sequence
from dataclasses import replace

from services.planner.policies.annealing.chain import Chain, Leg, run_leg
from services.planner.policies.search import Search

Part = list[Chain]

_HOT_SHARE = 5e-4
_COLD_REQUESTS = 0.2
_FIRST_STEPS = 1
_LEG_SHARE = 0.025
# How far the walk has come when the worse half of the rivals gives up its own way.
_CUTS = (0.4, 0.7)


def cool(
    search: Search, parts: Sequence[Part], until: float, num_simulations: int | None, heat: float = 1.0
) -> list[Part]:
    """The parts' chains when the search has spent the share `until` of its budget, or made so many
    simulations; best chains first. Ends early once everything is attained. `heat` scales the
    temperature at the beginning."""
    cooling = _Cooling(search, parts, until, num_simulations, heat)
    while not cooling.is_over:
        cooling.run_legs()
    return cooling.parts


class _Cooling:
    """Where one cooling stands."""

    def __init__(
        self, search: Search, parts: Sequence[Part], until: float, num_simulations: int | None, heat: float
    ) -> None:
        self.parts = [list(part) for part in parts]
        self._search = search
        self._heat = heat
        self._begun, self._until = search.share_spent, until
        self._last_simulation = None if num_simulations is None else search.num_simulations + num_simulations
        self._num_simulations = num_simulations
        self._num_steps = _FIRST_STEPS
        self._cuts_left = list(_CUTS)

    @property
    def progress(self) -> float:
        """0 at the beginning, 1 when it must end."""
        span = self._until - self._begun
        of_budget = (self._search.share_spent - self._begun) / span if span > 0 else 1.0
        if self._last_simulation is None or self._num_simulations is None:
            return of_budget
        return max(of_budget, 1 - (self._last_simulation - self._search.num_simulations) / self._num_simulations)

    @property
    def is_over(self) -> bool:
        return self.progress >= 1 or self._affordable_steps() < 1 or self._is_perfect

    @property
    def _num_chains(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def _is_perfect(self) -> bool:
        return all(part[0].attained >= part[0].ground.num_requests for part in self.parts)

    def run_legs(self) -> None:
        """One leg of every chain, side by side."""
        began = self.progress
        ended = min(began + _LEG_SHARE, 1.0)
        self._give_up(began)
        num_steps = self._affordable_steps()
        legs = [
            Leg(chain, num_steps, self._temperature(chain, began), self._temperature(chain, ended))
            for part in self.parts
            for chain in part
        ]
        walked = list(self._search.pool(run_leg, legs))
        num_made = sum(
            chain.num_simulations - leg.chain.num_simulations for chain, leg in zip(walked, legs, strict=True)
        )
        rest = iter(walked)
        self.parts = [sorted((next(rest) for _ in part), key=_best_score, reverse=True) for part in self.parts]
        self._search.note(self._attainment(), num_made)
        share = max(self.progress - began, 1e-4)
        self._num_steps = max(round(num_steps * min(max(_LEG_SHARE / share, 0.25), 4.0)), 1)

    def _attainment(self) -> float:
        """Of the best states so far; 0 where they are not judged by the problem's own requests."""
        if not all(part[0].ground.is_exact for part in self.parts):
            return 0.0
        attained = sum(part[0].attained for part in self.parts)
        return attained / sum(part[0].ground.num_requests for part in self.parts)

    def _affordable_steps(self) -> int:
        """The next leg's steps, so that every chain can afford them and its first simulation."""
        left = [self._search.num_simulations_left(self._until)]
        if self._last_simulation is not None:
            left.append(self._last_simulation - self._search.num_simulations)
        known = [own for own in left if own is not None]
        return min([self._num_steps, *(own // self._num_chains - 1 for own in known)])

    def _give_up(self, progress: float) -> None:
        """Let the worse half of each part's rivals go on from the better half when a cut is reached."""
        while self._cuts_left and progress >= self._cuts_left[0]:
            self._cuts_left.pop(0)
            self.parts = [_with_better_half_twice(part) for part in self.parts]

    def _temperature(self, chain: Chain, progress: float) -> float:
        """In requests, falling by the same factor from leg to leg."""
        hot = max(_HOT_SHARE * self._heat * chain.ground.num_requests, 2 * _COLD_REQUESTS)
        return hot * float((_COLD_REQUESTS / hot) ** progress)


def _with_better_half_twice(part: Part) -> Part:
    """As many chains, best first; a copy draws its own numbers from then on."""
    num_kept = (len(part) + 1) // 2
    copies = [replace(chain, rng=chain.rng.spawn(1)[0]) for chain in part[: len(part) - num_kept]]
    return part[:num_kept] + copies


def _best_score(chain: Chain) -> float:
    return chain.best_score
