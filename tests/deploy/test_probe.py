"""What a container's health check says."""

import subprocess
import sys

from tests.conftest import System


def probe(address: str) -> int:
    return subprocess.run([sys.executable, "-m", "services.infra.probe", address], check=False).returncode


def test_a_service_that_serves_is_healthy(system: System) -> None:
    router = system.start("router")

    assert probe(router.address) == 0


def test_an_address_where_nobody_serves_is_not() -> None:
    assert probe("127.0.0.1:1") == 1
