"""Every documented status arrives as its exception, with what the service said of it."""

import math

import grpc
import numpy as np
import pytest
from alpaserve_client import (
    Aborted,
    AlpaServeClientError,
    AlreadyExists,
    AsyncClient,
    Client,
    ConnectionOptions,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SloUnattainable,
    Unauthenticated,
    Unavailable,
)
from google.rpc import code_pb2, error_details_pb2

from tests.clients.scripted_router import ScriptedRouter, failure, rejection, serving

NO_RETRY = ConnectionOptions(num_retries=0)


def error_for(status: grpc.Status) -> AlpaServeClientError:
    with (
        serving(ScriptedRouter(failures={"m0": status})) as address,
        Client(address, NO_RETRY) as client,
        pytest.raises(AlpaServeClientError) as caught,
    ):
        client.infer("m0", {})
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.ABORTED, Aborted),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.INTERNAL, Internal),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.DATA_LOSS, AlpaServeClientError),
    ],
)
def test_a_status_has_its_exception(code: grpc.StatusCode, kind: type[AlpaServeClientError]) -> None:
    error = error_for(failure(code.value[0], "why"))

    assert type(error) is kind
    assert (error.code, error.message, error.reason, error.retry_after_s) == (code, "why", "", None)


def test_a_rejection_brings_its_figures() -> None:
    error = error_for(rejection(predicted_s="0.75", allowed_s="0.5"))

    assert isinstance(error, SloUnattainable)
    assert (error.predicted_s, error.allowed_s, error.retry_after_s) == (0.75, 0.5, 0.25)
    assert error.reason == "SLO_UNATTAINABLE"


async def test_the_asyncio_client_raises_the_same() -> None:
    with serving(ScriptedRouter(failures={"m0": rejection(predicted_s="0.75", allowed_s="0.5")})) as address:
        async with AsyncClient(address) as client:
            with pytest.raises(SloUnattainable) as caught:
                await client.infer("m0", {})

    assert (caught.value.predicted_s, caught.value.allowed_s, caught.value.retry_after_s) == (0.75, 0.5, 0.25)


def test_a_rejection_with_garbled_figures_is_still_one() -> None:
    error = error_for(rejection(predicted_s="soon"))

    assert isinstance(error, SloUnattainable)
    assert math.isnan(error.predicted_s)
    assert math.isnan(error.allowed_s)


def test_a_reason_comes_with_its_error() -> None:
    info = error_details_pb2.ErrorInfo(reason="OUTCOME_UNKNOWN", domain="alpaserve")

    error = error_for(failure(code_pb2.ABORTED, "", info))

    assert isinstance(error, Aborted)
    assert error.reason == "OUTCOME_UNKNOWN"


def test_the_reason_of_a_strangers_domain_is_ignored() -> None:
    info = error_details_pb2.ErrorInfo(reason="SLO_UNATTAINABLE", domain="elsewhere")

    error = error_for(failure(code_pb2.RESOURCE_EXHAUSTED, "", info))

    assert type(error) is ResourceExhausted


def test_a_message_above_the_limit_is_no_rejection() -> None:
    options = ConnectionOptions(max_message_bytes=1024)
    with (
        serving(ScriptedRouter()) as address,
        Client(address, options) as client,
        pytest.raises(ResourceExhausted) as caught,
    ):
        client.infer("m0", {"input": np.zeros(4096, np.uint8)})

    assert type(caught.value) is ResourceExhausted
