"""The integer program against every choice there is."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from services.parallel.intra_op.programme import WHOLE, Choice, Node, Programme, Reshard, solve

STATES = (WHOLE, 0, 1)


def random_programme(seed: int, num_nodes: int | None = None) -> Programme:
    """So many nodes, by default up to six; each writes one tensor and reads up to two that earlier ones wrote."""
    generator = np.random.default_rng(seed)

    def choice(num_reads: int) -> Choice:
        reads, (written,) = (tuple(int(state) for state in generator.choice(STATES, count)) for count in (num_reads, 1))
        return Choice(float(generator.integers(0, 20)), reads, (written,), float(generator.integers(0, 10)))

    nodes = []
    for tensor in range(num_nodes or int(generator.integers(3, 7))):
        reads = tuple(int(read) for read in generator.integers(0, max(tensor, 1), int(generator.integers(0, 3))))
        reads = reads if tensor else ()
        nodes.append(Node(tuple(choice(len(reads)) for _ in range(int(generator.integers(1, 5)))), reads, (tensor,)))
    reshards = [Reshard(*(float(seconds) for seconds in generator.integers(1, 15, 2))) for _ in nodes]
    return Programme(tuple(nodes), reshards)


def lightest(programme: Programme) -> list[int]:
    return [int(np.argmin([choice.weight_bytes for choice in node.choices])) for node in programme.nodes]


def every_choice(programme: Programme) -> list[tuple[float, float]]:
    """Bytes and seconds of each combination, added up afresh."""
    indices = product(*(range(len(node.choices)) for node in programme.nodes))
    return [_bytes_and_seconds(programme, chosen) for chosen in indices]


def _bytes_and_seconds(programme: Programme, chosen: Sequence[int]) -> tuple[float, float]:
    taken = [node.choices[index] for node, index in zip(programme.nodes, chosen, strict=True)]
    seconds = sum(choice.seconds for choice in taken)
    for tensor, writer in enumerate(taken):
        (left,) = writer.writes
        wanted = {
            state
            for node, choice in zip(programme.nodes, taken, strict=True)
            for read, state in zip(node.reads, choice.reads, strict=True)
            if read == tensor
        }
        if left != WHOLE:
            seconds += programme.reshards[tensor].gather_s * (WHOLE in wanted)
            seconds += programme.reshards[tensor].exchange_s * len(wanted - {WHOLE, left})
    return sum(choice.weight_bytes for choice in taken), seconds


@pytest.mark.parametrize("seed", range(40))
def test_the_solution_costs_what_the_best_of_all_choices_costs(seed: int) -> None:
    programme = random_programme(seed)

    found = solve(programme, [0] * len(programme.nodes))

    assert programme.seconds(found) == pytest.approx(min(seconds for _, seconds in every_choice(programme)))


@pytest.mark.parametrize("seed", range(40, 70))
def test_under_a_memory_limit_it_is_the_best_of_those_that_fit(seed: int) -> None:
    programme = random_programme(seed)
    every = every_choice(programme)
    limit = float(np.quantile([weight_bytes for weight_bytes, _ in every], 0.3))
    limited = Programme(programme.nodes, programme.reshards, limit)

    found = solve(limited, lightest(programme))

    assert limited.weight_bytes(found) <= limit
    assert limited.seconds(found) == pytest.approx(min(s for weight_bytes, s in every if weight_bytes <= limit))


def test_readers_in_one_state_share_the_reshard() -> None:
    reader = Node((Choice(0.0, (WHOLE,)),), (0,))
    programme = Programme((Node((Choice(0.0, (), (0,)),), (), (0,)), reader, reader), [Reshard(3.0, 1.0)])

    assert programme.seconds([0, 0, 0]) == 3.0


@pytest.mark.parametrize("seed", range(3))
def test_without_time_the_guess_is_what_is_left(seed: int) -> None:
    programme = random_programme(seed, num_nodes=30)
    guess = lightest(programme)

    assert solve(programme, guess, time_limit_s=0.0) == guess
    assert programme.seconds(solve(programme, guess)) < programme.seconds(guess)


def test_the_same_program_is_solved_alike() -> None:
    programme = random_programme(5)

    assert solve(programme, [0] * len(programme.nodes)) == solve(programme, [0] * len(programme.nodes))
