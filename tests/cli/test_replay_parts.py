"""The pure parts of load tests: shares of several processes, options per model, bars, random lengths."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from alpaserve_cli.replay import Progress, ReplayOptions
from alpaserve_cli.replay.input_options import input_source
from alpaserve_cli.replay.ledger import Ledger
from alpaserve_cli.replay.live import Bars, progress_text
from alpaserve_cli.replay.load import Load, Shape, num_warm_up, parse_slo_mix
from alpaserve_cli.replay.merging import merged
from alpaserve_cli.replay.options import Share
from alpaserve_client import ConnectionOptions, Tls
from hypothesis import given
from hypothesis import strategies as st

from services.core.arrivals import gamma_workload
from services.core.shaping import SloMix
from services.core.workload import Workload


def progress(elapsed_s: float, served: int, rejected: int = 0) -> Progress:
    outcomes = {"served": served, "late": 0, "rejected": rejected, "failed": 0}
    return Progress(elapsed_s, 100, served + rejected + 2, served + rejected, outcomes)


@given(st.integers(0, 200), st.integers(1, 9), st.integers(0, 250))
def test_shares_are_every_request_once(num_requests: int, num_processes: int, num_first: int) -> None:
    shares = [Share(first, num_processes) for first in range(num_processes)]

    sent = [share.number(index) for share in shares for index in range(share.num_of(num_requests))]

    assert sorted(sent) == list(range(num_requests))
    assert sum(share.num_of(num_first) for share in shares) == num_first


@given(st.integers(1, 5))
def test_merged_results_lie_where_their_requests_were(num_processes: int) -> None:
    whole = gamma_workload({"a": 9.0, "b": 3.0}, 1.0, 3.0, seed=2)
    shares = [Share(first, num_processes) for first in range(num_processes)]
    parts = [Workload(whole.arrival_s[s.rows], whole.model[s.rows], whole.slo_s[s.rows], whole.names) for s in shares]
    results = [Ledger(part, ReplayOptions()).result() for part in parts]
    for share, result in zip(shares, results, strict=True):
        result.latency_s[:] = [share.number(index) for index in range(len(result.latency_s))]

    together = merged(whole, shares, results, num_warm_up=1)

    assert together.latency_s.tolist() == list(range(len(whole)))
    assert together.arrival_s.tolist() == whole.arrival_s.tolist()
    assert together.num_warm_up == 1


def test_sending_processes_get_certificates_and_tokens() -> None:
    tls = Tls(ca=Path("ca.pem"), certificate=Path("client.pem"), key=Path("key.pem"))
    options = ReplayOptions(connection=ConnectionOptions(tls=tls, token="secret"))

    sent = pickle.loads(pickle.dumps(options))

    assert sent == options
    assert "secret" not in repr(sent)


def test_a_mix_names_models_seconds_and_multiples() -> None:
    mixes = parse_slo_mix(["0.1:0.5,0.9:5x", "b=1:2"], ("a", "b", "c"), lambda name, scale: scale * ord(name))

    assert mixes == {
        "a": SloMix((0.1, 0.9), (0.5, 5.0 * ord("a"))),
        "b": SloMix((1.0,), (2.0,)),
        "c": SloMix((0.1, 0.9), (0.5, 5.0 * ord("c"))),
    }


def test_a_load_at_another_rate_keeps_its_span_and_another_repeat_draws_others() -> None:
    load = Load(gamma_workload({"a": 50.0}, 1.0, 100.0, seed=1), Shape(), seed=3)

    whole, double, other = load.workload(), load.workload(2.0), load.workload(2.0, repeat=1)

    assert len(double) == 2 * len(whole)
    assert double.span_s == pytest.approx(whole.span_s, rel=0.01)
    assert load.workload(2.0).arrival_s.tolist() == double.arrival_s.tolist() != other.arrival_s.tolist()


def test_a_warm_up_in_seconds_counts_from_the_first_arrival() -> None:
    arrivals = Workload(np.array([7.0, 8.0, 9.0, 10.0]), np.zeros(4, np.int32), np.full(4, np.nan), ("m",))

    assert num_warm_up(arrivals, 1.5, None) == 2


@pytest.mark.parametrize(
    ("lengths", "mean", "cv"),
    [("random", 128, 0.0), ("random:16-256", 136, 0.51), ("random:lognormal:100:0.5", 100, 0.5)],
)
def test_random_texts_have_the_lengths_asked_for(lengths: str, mean: float, cv: float) -> None:
    source = input_source([lengths], None, (), seed=0)

    drawn = np.array([len(np.asarray(source("m", index)["input_ids"])) for index in range(256)])

    assert drawn.mean() == pytest.approx(mean, rel=0.15)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, abs=0.1)


def test_bars_count_by_the_second_and_begin_anew_with_a_replay() -> None:
    bars = Bars()
    for one in (progress(0.5, 3), progress(1.0, 10), progress(1.5, 11), progress(2.1, 15, rejected=2)):
        bars.note(one)
    assert list(bars.seconds) == [(10, 0), (5, 2)]
    assert [line.plain for line in bars.lines()] == ["in time █▄ 10/s", "missed   ▂"]

    bars.note(progress(0.5, 1))
    assert list(bars.seconds) == []


def test_progress_in_a_line_says_what_is_under_way() -> None:
    text = progress_text(progress(2.0, 15, rejected=5))

    assert "sent 22/100 (11/s)  in flight 2  attained 75.00 %" in text
