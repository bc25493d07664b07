"""Every RPC that a service may serve has a row, and every row has its RPC."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import alpaserve.oip.v2
import alpaserve.v1
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.infra.security.scopes import NEEDS, need_of
from services.infra.security.tokens import Scope

# Compiled under a name of our own, served under the public one.
SERVED_AS = {"alpaserve.oip.v2.GRPCInferenceService": "inference.GRPCInferenceService"}


def methods() -> Iterator[str]:
    contracts = [
        import_module(f"{package.__name__}.{module.name}")
        for package in (alpaserve.v1, alpaserve.oip.v2)
        for module in pkgutil.iter_modules(package.__path__)
        if module.name.endswith("_pb2")
    ]
    for contract in (*contracts, health_pb2, reflection_pb2):
        for service in contract.DESCRIPTOR.services_by_name.values():
            name = SERVED_AS.get(service.full_name, service.full_name)
            yield from (f"/{name}/{method.name}" for method in service.methods)


def test_rows_and_rpcs_are_the_same() -> None:
    assert set(NEEDS) == set(methods())


def test_a_method_without_a_row_needs_the_most() -> None:
    assert need_of("/alpaserve.v1.Planner/Unheard") is Scope.ADMIN
