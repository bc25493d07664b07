"""The integer program: one choice for each node of a graph, so that nodes and resharding together cost least.

One-hot variables for the choices, linearised edges (Alpa, section 4.2), solved by HiGHS. A tensor that
several nodes want in the same state is resharded into it once.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

State: TypeAlias = int
"""How the devices hold a tensor: whole on each, or split along one axis (its number)."""
WHOLE: State = -1
TensorId: TypeAlias = int
_Columns: TypeAlias = "dict[State, list[int]]"

# Costs are scaled so that the guess to beat costs this much: far above the solver's tolerances.
_SCALE = 1e4
# How far from the best a solution may be. Under a memory limit the last bit would take long to prove.
_GAP, _LIMITED_GAP = 1e-6, 1e-3
# Of the memory limit, that of the solver.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Choice:
    """States it reads its node's tensors in, and those it leaves what it writes in."""

    seconds: float
    reads: tuple[State, ...] = ()
    writes: tuple[State, ...] = ()
    weight_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Node:
    choices: tuple[Choice, ...]
    reads: tuple[TensorId, ...] = ()
    writes: tuple[TensorId, ...] = ()


@dataclass(frozen=True, slots=True)
class Reshard:
    """Seconds to make a split tensor whole, and to split it along another axis. A whole one is split for free."""

    gather_s: float
    exchange_s: float

    def seconds(self, before: State, after: State) -> float:
        if before in (WHOLE, after):
            return 0.0
        return self.gather_s if after == WHOLE else self.exchange_s


@dataclass(frozen=True, slots=True)
class Programme:
    """Every tensor is written by at most one node, and has its `reshard`; one that none writes is at hand in
    every state. `memory_bytes` limits the weights."""

    nodes: tuple[Node, ...]
    reshards: Sequence[Reshard]
    memory_bytes: float = math.inf

    def seconds(self, chosen: Sequence[int]) -> float:
        """What a choice for each node costs in all."""
        choices = [node.choices[index] for node, index in zip(self.nodes, chosen, strict=True)]
        return sum(choice.seconds for choice in choices) + sum(
            self.reshards[tensor].seconds(before, after) for tensor, before, after in self.changes(chosen)
        )

    def weight_bytes(self, chosen: Sequence[int]) -> float:
        return sum(node.choices[index].weight_bytes for node, index in zip(self.nodes, chosen, strict=True))

    def changes(self, chosen: Sequence[int]) -> list[tuple[TensorId, State, State]]:
        """Each tensor that is wanted in another state than it is left in: once for each such state."""
        left: dict[TensorId, State] = {}
        wanted: dict[tuple[TensorId, State], None] = {}
        for node, index in zip(self.nodes, chosen, strict=True):
            left.update(zip(node.writes, node.choices[index].writes, strict=True))
            wanted.update(dict.fromkeys(zip(node.reads, node.choices[index].reads, strict=True)))
        return [(tensor, left[tensor], state) for tensor, state in wanted if tensor in left and left[tensor] != state]


def solve(programme: Programme, guess: Sequence[int], time_limit_s: float = 30.0) -> list[int]:
    """The least costly choice for each node, by its index.

    `guess` is any choice that fits the memory: what is returned never costs more, even where the time limit
    cut the search short.
    """
    if all(len(node.choices) == 1 for node in programme.nodes):
        return list(guess)
    is_limited = math.isfinite(programme.memory_bytes)
    problem = _Problem(programme, max(programme.seconds(guess), 1e-12) / _SCALE)
    result = milp(
        c=np.asarray(problem.costs),
        integrality=np.asarray(problem.is_integer, dtype=np.uint8),
        bounds=Bounds(0.0, np.where(problem.is_integer, 1.0, np.inf)),
        constraints=problem.constraints(),
        options={"time_limit": time_limit_s, "mip_rel_gap": _LIMITED_GAP if is_limited else _GAP},
    )
    if result.x is None:
        return list(guess)
    found = problem.chosen(result.x)
    fits = programme.weight_bytes(found) <= programme.memory_bytes * (1 + _TOLERANCE)
    return found if fits and programme.seconds(found) <= programme.seconds(guess) else list(guess)


class _Problem:
    """Columns, and rows as coordinate triples, of the linearised program."""

    def __init__(self, programme: Programme, unit_s: float) -> None:
        self._programme = programme
        self._unit_s = unit_s
        self.costs: list[float] = []
        self.is_integer: list[bool] = []
        self._entries: list[tuple[int, int, float]] = []
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._choices = [[self._column(choice.seconds, True) for choice in node.choices] for node in programme.nodes]
        for columns in self._choices:
            self._row(dict.fromkeys(columns, 1.0), 1.0, 1.0)
        self._limit_memory()
        self._add_reshards()

    def constraints(self) -> LinearConstraint:
        rows, columns, values = (np.asarray(part) for part in zip(*self._entries, strict=True))
        matrix = csr_array((values, (rows, columns)), shape=(len(self._lower), len(self.costs)))
        return LinearConstraint(matrix, np.asarray(self._lower), np.asarray(self._upper))

    def chosen(self, values: NDArray[np.float64]) -> list[int]:
        return [int(np.argmax(values[columns])) for columns in self._choices]

    def _column(self, seconds: float, is_integer: bool = False) -> int:
        self.costs.append(seconds / self._unit_s)
        self.is_integer.append(is_integer)
        return len(self.costs) - 1

    def _row(self, entries: Mapping[int, float], lower: float, upper: float) -> None:
        self._entries.extend((len(self._lower), column, value) for column, value in entries.items())
        self._lower.append(lower)
        self._upper.append(upper)

    def _limit_memory(self) -> None:
        limit = self._programme.memory_bytes
        if not np.isfinite(limit):
            return
        pairs = zip(self._programme.nodes, self._choices, strict=True)
        entries = {
            column: choice.weight_bytes / max(limit, 1.0)
            for node, columns in pairs
            for choice, column in zip(node.choices, columns, strict=True)
            if choice.weight_bytes
        }
        self._row(entries, -np.inf, limit / max(limit, 1.0))

    def _add_reshards(self) -> None:
        left: dict[TensorId, _Columns] = {}
        wanted: defaultdict[TensorId, list[_Columns]] = defaultdict(list)
        for node, columns in zip(self._programme.nodes, self._choices, strict=True):
            for place, tensor in enumerate(node.writes):
                left[tensor] = _by_state([choice.writes[place] for choice in node.choices], columns)
            for place, tensor in enumerate(node.reads):
                wanted[tensor].append(_by_state([choice.reads[place] for choice in node.choices], columns))
        for tensor, readers in wanted.items():
            if left.get(tensor, {}).keys() - {WHOLE}:
                self._add_tensor(self._programme.reshards[tensor], left[tensor], readers)

    def _add_tensor(self, reshard: Reshard, left: _Columns, readers: Sequence[_Columns]) -> None:
        """All readers share one gathering and, for each axis, one exchange."""
        states = {state for reader in readers for state in reader}
        moves = {state: self._column(reshard.gather_s if state == WHOLE else reshard.exchange_s) for state in states}
        for reader in readers:
            own = moves if len(readers) == 1 else {state: self._column(0.0) for state in reader}
            self._add_reader(left, reader, own)
            if len(readers) > 1:
                for state, column in own.items():
                    self._row({moves[state]: 1.0, column: -1.0}, 0.0, np.inf)

    def _add_reader(self, left: _Columns, reader: _Columns, moves: Mapping[State, int]) -> None:
        """What leaves the states the tensor is left in comes to those it is wanted in, through `moves`."""
        leaving = {state: self._column(0.0) for state in left if state != WHOLE}
        for state, column in leaving.items():
            self._row({column: 1.0} | dict.fromkeys(left[state], -1.0), -np.inf, 0.0)
        for state in {*leaving, *reader} - {WHOLE}:
            # Whoever stays or comes is among those who are wanted; the others are split from a whole tensor.
            stays = dict.fromkeys(left.get(state, ()), 1.0) | ({leaving[state]: -1.0} if state in leaving else {})
            comes = {moves[state]: 1.0} if state in moves else {}
            self._row(stays | comes | dict.fromkeys(reader.get(state, ()), -1.0), -np.inf, 0.0)
        if WHOLE in moves:
            self._row({moves[WHOLE]: 1.0} | dict.fromkeys(reader[WHOLE], -1.0), -np.inf, 0.0)
        self._row(dict.fromkeys(leaving.values(), 1.0) | dict.fromkeys(moves.values(), -1.0), 0.0, 0.0)


def _by_state(states: Sequence[State], columns: Sequence[int]) -> _Columns:
    found: _Columns = {}
    for state, column in zip(states, columns, strict=True):
        found.setdefault(state, []).append(column)
    return found
