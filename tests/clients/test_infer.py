"""The SDK over a real channel: what is sent, what comes back, what is tried again."""

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from alpaserve_client import AsyncClient, Client, ConnectionOptions, DeadlineExceeded, InferResult, Unavailable
from google.rpc import code_pb2

from tests.clients.scripted_router import ScriptedRouter, failure, serving

INPUTS = {"input_ids": np.array([101, 7592, 102], dtype=np.int32)}


def test_outputs_and_times_come_back() -> None:
    with serving(ScriptedRouter()) as address, Client(address) as client:
        result = client.infer("m0", INPUTS, request_id="mine")

    assert np.array_equal(result.outputs.pop("input_ids"), INPUTS["input_ids"])
    assert result == InferResult({}, "mine", 7, "g3", 0.125, 0.25, 0.5)


async def test_the_asyncio_client_answers_the_same() -> None:
    with serving(ScriptedRouter()) as address:
        async with AsyncClient(address) as client:
            result = await client.infer("m0", INPUTS, request_id="mine")

    assert np.array_equal(result.outputs.pop("input_ids"), INPUTS["input_ids"])
    assert result == InferResult({}, "mine", 7, "g3", 0.125, 0.25, 0.5)


def test_an_slo_is_sent_as_given_and_none_not_at_all() -> None:
    router = ScriptedRouter()
    with serving(router) as address, Client(address) as client:
        client.infer("m0", INPUTS, slo_s=0.75)
        client.infer("m0", INPUTS)

    assert router.requests[0].slo.ToNanoseconds() == 750_000_000
    assert not router.requests[1].HasField("slo")


def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    router = ScriptedRouter()
    with serving(router) as address, Client(address) as client:
        ids = {client.infer("m0", INPUTS).request_id for _ in range(3)}

    assert len(ids) == 3
    assert "" not in ids


def test_an_unavailable_request_is_tried_again_under_the_same_id() -> None:
    router = ScriptedRouter(num_unavailable=2)
    with serving(router) as address, Client(address) as client:
        result = client.infer("m0", INPUTS)

    assert dict(router.tries) == {result.request_id: 3}


async def test_the_asyncio_client_tries_again_as_well() -> None:
    router = ScriptedRouter(num_unavailable=2)
    with serving(router) as address:
        async with AsyncClient(address) as client:
            result = await client.infer("m0", INPUTS)

    assert dict(router.tries) == {result.request_id: 3}


def test_a_further_try_has_only_the_rest_of_the_slo() -> None:
    router = ScriptedRouter(num_unavailable=1)
    with serving(router) as address, Client(address) as client:
        client.infer("m0", INPUTS, slo_s=30.0)

    first, second = (request.slo.ToNanoseconds() for request in router.requests)
    assert first == 30_000_000_000
    assert 29_000_000_000 < second < first


def test_a_request_whose_connection_broke_is_not_sent_again() -> None:
    router = ScriptedRouter(failures={"m0": failure(code_pb2.UNAVAILABLE, "Socket closed")})
    with serving(router) as address, Client(address) as client, pytest.raises(Unavailable, match="Socket closed"):
        client.infer("m0", INPUTS, request_id="mine")

    assert dict(router.tries) == {"mine": 1}


def test_a_request_that_finds_no_router_waits_for_one() -> None:
    with serving(ScriptedRouter()) as address:
        pass
    with Client(address, ConnectionOptions(num_retries=60)) as client, ThreadPoolExecutor(1) as beside:
        asked = beside.submit(client.infer, "m0", INPUTS, request_id="mine")
        time.sleep(0.3)
        assert not asked.done()
        with serving(ScriptedRouter(), port=int(address.rpartition(":")[2])):
            assert asked.result(10).request_id == "mine"


def test_tries_end_with_the_retries() -> None:
    router = ScriptedRouter(num_unavailable=99)
    with (
        serving(router) as address,
        Client(address, ConnectionOptions(num_retries=2)) as client,
        pytest.raises(Unavailable, match="draining"),
    ):
        client.infer("m0", INPUTS, request_id="mine")

    assert router.tries["mine"] == 3


def test_tries_end_within_the_timeout() -> None:
    router = ScriptedRouter(num_unavailable=99)
    begun_s = time.monotonic()
    with (
        serving(router) as address,
        Client(address, ConnectionOptions(num_retries=99)) as client,
        # The timeout ends either the pause before a further try or that try itself.
        pytest.raises((Unavailable, DeadlineExceeded)),
    ):
        client.infer("m0", INPUTS, timeout_s=0.5)

    assert time.monotonic() - begun_s < 5.0


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with Client(address, ConnectionOptions(num_retries=0)) as client, pytest.raises(Unavailable):
            client.infer("m0", INPUTS)


def test_a_connection_can_be_waited_for() -> None:
    with serving(ScriptedRouter()) as address, Client(address) as client:
        client.wait_for_connection(20)
    with Client(address) as client, pytest.raises(Unavailable, match=r"within 0\.1 s"):
        client.wait_for_connection(0.1)


async def test_the_asyncio_client_can_wait_for_its_connection() -> None:
    with serving(ScriptedRouter()) as address:
        async with AsyncClient(address) as client:
            await client.wait_for_connection(20)
    async with AsyncClient(address) as client:
        with pytest.raises(Unavailable, match=r"within 0\.1 s"):
            await client.wait_for_connection(0.1)


def test_a_slow_answer_exceeds_the_timeout() -> None:
    with serving(ScriptedRouter(delay_s=0.5)) as address, Client(address) as client, pytest.raises(DeadlineExceeded):
        client.infer("m0", INPUTS, timeout_s=0.1)


async def test_a_cancelled_request_ends_at_once() -> None:
    with serving(ScriptedRouter(delay_s=0.5)) as address:
        async with AsyncClient(address) as client:
            request = asyncio.ensure_future(client.infer("m0", INPUTS))
            await asyncio.sleep(0.1)
            request.cancel()

            with pytest.raises(asyncio.CancelledError):
                await request


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"slo_s": float("inf")}, "slo_s"), ({"slo_s": float("nan")}, "slo_s"), ({"timeout_s": 0.0}, "timeout_s")],
)
def test_times_that_are_none_are_refused_before_sending(arguments: dict[str, float], complaint: str) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=complaint):
        client.infer("m0", INPUTS, slo_s=arguments.get("slo_s"), timeout_s=arguments.get("timeout_s"))
