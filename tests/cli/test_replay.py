"""Replay over a real channel: open loop, and every end in its class."""

import csv
import gzip
import io
import time
from pathlib import Path

import numpy as np
import pytest
from alpaserve_cli.inputs import no_inputs, random_tokens
from alpaserve_cli.replay import Outcome, Progress, Replay, ReplayOptions, replay, summary
from alpaserve_cli.replay.prediction import Prediction
from alpaserve_cli.replay.records import write_records
from google.rpc import code_pb2

from services.core.documents import parse_placement, parse_spec
from services.core.profile_documents import parse_profiles
from services.core.workload import Workload
from tests.clients.scripted_router import ScriptedRouter, failure, rejection, serving


def workload(arrival_s: list[float], models: list[int], slo_s: float = np.nan) -> Workload:
    count = len(arrival_s)
    return Workload(np.array(arrival_s), np.array(models, dtype=np.int32), np.full(count, slo_s), ("m0", "m1"))


def test_slow_answers_do_not_delay_the_sending() -> None:
    arrivals = workload([0.01 * n for n in range(40)], [0] * 40, slo_s=5.0)
    with serving(ScriptedRouter(delay_s=1.0)) as address:
        result = replay(arrivals, address, no_inputs)

    assert result.send_delay_s.max() < 0.9
    assert result.latency_s.min() >= 1.0
    assert (result.outcome == Outcome.SERVED).all()


def test_every_end_has_its_class() -> None:
    statuses = {
        "m1": rejection(predicted_s="1", allowed_s="0.5"),
        "m2": failure(code_pb2.DEADLINE_EXCEEDED),
        "m3": failure(code_pb2.UNAVAILABLE),
        "m4": failure(code_pb2.RESOURCE_EXHAUSTED, "too large"),
    }
    arrivals = Workload(np.zeros(5), np.arange(5, dtype=np.int32), np.full(5, np.nan), ("m0", "m1", "m2", "m3", "m4"))
    with serving(ScriptedRouter(failures=statuses)) as address:
        result = replay(arrivals, address, no_inputs)

    ends = [Outcome.SERVED, Outcome.REJECTED, Outcome.LATE, Outcome.FAILED, Outcome.FAILED]
    assert result.outcome.tolist() == ends
    assert result.status_names()[:4] == ["OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"]
    assert result.num_answers.tolist() == [1] * 5


def test_an_answer_after_the_slo_is_late() -> None:
    with serving(ScriptedRouter(delay_s=0.2)) as address:
        result = replay(workload([0.0], [0], slo_s=0.1), address, no_inputs)

    assert result.outcome.tolist() == [Outcome.LATE]


def test_an_answer_that_never_comes_is_late_after_the_timeout() -> None:
    with serving(ScriptedRouter(delay_s=1.0)) as address:
        result = replay(workload([0.0], [0]), address, no_inputs, ReplayOptions(timeout_s=0.2))

    assert result.outcome.tolist() == [Outcome.LATE]


def test_the_workloads_slo_is_sent_before_the_models_and_none_if_there_is_neither() -> None:
    router = ScriptedRouter()
    arrivals = Workload(np.zeros(3), np.array([0, 0, 1], np.int32), np.array([0.25, np.nan, np.nan]), ("m0", "m1"))
    with serving(router) as address:
        replay(arrivals, address, no_inputs, ReplayOptions(slo_s={"m0": 2.0}))

    sent = {request.request_id.rpartition("-")[2]: request for request in router.requests}
    assert sent["0"].slo.ToNanoseconds() == 250_000_000
    assert sent["1"].slo.ToNanoseconds() == 2_000_000_000
    assert not sent["2"].HasField("slo")


def test_speed_shortens_the_workload() -> None:
    begun_s = time.monotonic()
    with serving(ScriptedRouter()) as address:
        result = replay(workload([5.0, 7.0], [0, 0]), address, no_inputs, ReplayOptions(speed=10.0))

    assert result.arrival_s.tolist() == pytest.approx([0.0, 0.2])
    assert time.monotonic() - begun_s < 1.5


def test_requests_carry_the_inputs_of_their_source() -> None:
    router = ScriptedRouter()
    with serving(router) as address:
        replay(workload([0.0], [0]), address, random_tokens(num_tokens=16))

    assert list(router.requests[0].inputs["input_ids"].shape) == [16]


async def test_a_stopped_replay_reports_what_it_sent() -> None:
    with serving(ScriptedRouter(delay_s=0.05)) as address:
        run = Replay(workload([0.0, 0.01, 60.0], [0, 0, 1]), address, no_inputs, ReplayOptions(progress_every_s=0.05))

        def stop_after_two(progress: Progress) -> None:
            if progress.num_answered == 2:
                run.stop()

        result = await run.run(stop_after_two)

    assert result.outcome.tolist() == [Outcome.SERVED, Outcome.SERVED, Outcome.UNSENT]
    assert summary(result)["num_requests"] == 2


def test_no_router_at_the_address_is_told() -> None:
    with pytest.raises(TimeoutError, match=r"no router answers at 127\.0\.0\.1:1"):
        replay(workload([0.0], [0]), "127.0.0.1:1", no_inputs, ReplayOptions(connect_timeout_s=0.3))


def test_the_summary_counts_every_request() -> None:
    statuses = {"m1": rejection(predicted_s="1", allowed_s="0.5")}
    with serving(ScriptedRouter(failures=statuses)) as address:
        document = summary(replay(workload([0.0, 0.1, 0.2, 0.4], [0, 0, 1, 0], slo_s=1.0), address, no_inputs))

    assert document["attainment"] == 0.75
    assert document["goodput_per_s"] == pytest.approx(3 / 0.4)
    assert document["outcomes"] == {"served": 3, "late": 0, "rejected": 1, "failed": 0}
    assert document["models"]["m1"]["attainment"] == 0.0
    assert document["statuses"] == {"RESOURCE_EXHAUSTED": 1}


def test_a_prediction_simulates_what_was_sent() -> None:
    stage = {"inter_op": 1, "intra_op": 1, "batch_size": 1, "stage_latency_s": [0.1], "stage_weight_bytes": [1]}
    profiles = {"schema": "alpaserve.profiles/v1", "models": [{"model": "p", "profiles": [stage]}]}
    spec = {
        "schema": "alpaserve.spec/v1",
        "cluster": {"num_devices": 1, "devices_per_node": 1, "memory_bytes": 2},
        "models": [{"name": name, "profile": "p", "slo_scale": 1.5} for name in ("m0", "m1")],
    }
    group = {"inter_op": 1, "intra_op": 1, "devices": [0], "models": ["m0", "m1"]}
    placement = {"schema": "alpaserve.placement/v1", "groups": [group]}
    prediction = Prediction(parse_spec(spec), parse_profiles(profiles), parse_placement(placement))
    options = ReplayOptions(slo_s=prediction.slo_s())
    with serving(ScriptedRouter()) as address:
        result = replay(workload([0.0, 0.01, 0.5], [0, 1, 0]), address, no_inputs, options)

    assert prediction.report(result).attainment == pytest.approx(2 / 3)


def test_records_say_what_became_of_every_request(tmp_path: Path) -> None:
    path = tmp_path / "records.csv.gz"
    with serving(ScriptedRouter(failures={"m1": rejection(predicted_s="1", allowed_s="0.5")})) as address:
        result = replay(workload([0.0, 0.1], [0, 1], slo_s=0.5), address, no_inputs)
        write_records(result, path)

    served, rejected = csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
    assert float(served.pop("latency_s")) == result.latency_s[0]
    assert float(served.pop("send_delay_s")) == result.send_delay_s[0]
    assert served == {
        "arrival_s": "0.0",
        "model": "m0",
        "slo_s": "0.5",
        "outcome": "served",
        "status": "OK",
        "group": "g3",
        "placement_version": "7",
        "queue_time_s": "0.125",
        "execution_time_s": "0.25",
        "predicted_finish_s": "0.5",
        "stage_begin_s": "",
        "stage_end_s": "",
    }
    assert (rejected["outcome"], rejected["status"]) == ("rejected", "RESOURCE_EXHAUSTED")
    assert (rejected["group"], rejected["placement_version"], rejected["queue_time_s"]) == ("", "", "")


def test_a_warm_up_is_sent_and_not_counted() -> None:
    router = ScriptedRouter(failures={"m1": rejection(predicted_s="1", allowed_s="0.5")})
    arrivals = workload([0.0, 0.1, 0.2, 0.3], [1, 1, 0, 0], slo_s=5.0)
    with serving(router) as address:
        document = summary(replay(arrivals, address, no_inputs, ReplayOptions(num_warm_up=2)))

    assert len(router.requests) == 4
    assert (document["attainment"], document["num_requests"], document["num_warm_up"]) == (1.0, 2, 2)
    assert document["outcomes"] == {"served": 2, "late": 0, "rejected": 0, "failed": 0}
    assert document["models"]["m1"]["num_requests"] == 0
