"""Service processes: started when they serve, stopped exactly, with a readable end when they fail.

The services here are stand-ins that keep the contract: one JSON line `serving` on stderr.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from alpaserve_cli.processes import ServiceStartError, start
from alpaserve_cli.supervisor import Backoff, Member, Supervisor

from tests.cli.process_table import has_ended_within, is_running

Env = Mapping[str, str]
MakeService = Callable[[str], Env]

SERVES = """
import json, os, sys, time
print("not json", file=sys.stderr)
port = os.environ.get("ALPASERVE_PORT") or "4321"
print(json.dumps({"event": "serving", "address": f"127.0.0.1:{port}"}), file=sys.stderr, flush=True)
time.sleep(60)
"""
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVES
HAS_A_CHILD = (
    """
import subprocess, sys
print(subprocess.Popen(["sleep", "60"]).pid, file=sys.stderr, flush=True)
"""
    + SERVES
)
FAILS = "import sys; sys.exit('no such store')"
HANGS = "import time; time.sleep(60)"


@pytest.fixture
def make_service(tmp_path: Path) -> MakeService:
    """Writes `services.fake` and returns the environment that finds it."""

    def make(source: str) -> Env:
        package = tmp_path / "modules" / "services"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "fake.py").write_text(source)
        return {"PYTHONPATH": str(package.parent)}

    return make


def test_a_service_is_started_when_it_serves(make_service: MakeService, tmp_path: Path) -> None:
    service = start("fake", make_service(SERVES), tmp_path / "fake.log")

    assert service.address == "127.0.0.1:4321"
    assert not service.has_exited
    service.stop()
    assert not is_running(service.pid)


def test_an_earlier_run_in_the_same_log_is_not_believed(make_service: MakeService, tmp_path: Path) -> None:
    log = tmp_path / "fake.log"
    log.write_text('{"event": "serving", "address": "127.0.0.1:1"}\n')

    service = start("fake", make_service(SERVES), log)
    service.stop()

    assert service.address == "127.0.0.1:4321"


def test_a_service_that_ignores_sigterm_is_killed(make_service: MakeService, tmp_path: Path) -> None:
    service = start("fake", make_service(IGNORES_SIGTERM), tmp_path / "fake.log")

    status = service.stop(timeout_s=0.2)

    assert status == -9
    assert not is_running(service.pid)


def test_what_a_service_started_is_stopped_with_it(make_service: MakeService, tmp_path: Path) -> None:
    log = tmp_path / "fake.log"
    service = start("fake", make_service(HAS_A_CHILD), log)
    grandchild = int(log.read_text().splitlines()[0])
    assert is_running(grandchild)

    service.kill()

    assert has_ended_within(grandchild, 5)


def test_a_service_that_fails_shows_its_log(make_service: MakeService, tmp_path: Path) -> None:
    with pytest.raises(ServiceStartError, match=r"(?s)the fake ended before it served.*no such store"):
        start("fake", make_service(FAILS), tmp_path / "fake.log")


def test_a_service_that_does_not_come_up_is_ended(make_service: MakeService, tmp_path: Path) -> None:
    with pytest.raises(ServiceStartError, match="did not serve in"):
        start("fake", make_service(HANGS), tmp_path / "fake.log", timeout_s=0.3)


def test_a_dead_service_is_restarted_at_its_address(make_service: MakeService, tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, None)
    first = supervisor.start_all([Member("fake", "fake", make_service(SERVES))])["fake"]
    os.kill(first.pid, 9)

    lines: list[str] = []
    give_up_at = time.monotonic() + 10
    while (tmp_path / "fake.log").read_text().count("serving") < 2 and time.monotonic() < give_up_at:
        lines += supervisor.revive()
        time.sleep(0.02)
    supervisor.stop_all(1.0)

    assert lines == ["the fake died and was restarted"]
    assert (tmp_path / "fake.log").read_text().count('"address": "127.0.0.1:4321"') == 2


def test_pauses_between_deaths_double_until_one_that_ran_for_a_minute_needs_none() -> None:
    backoff = Backoff()
    backoff.note_start(0.0)
    pauses = []
    for died_s in (1.0, 10.0, 20.0, 200.0):
        pauses.append(next(n for n in range(100) if backoff.is_due(died_s + n / 2)) / 2)
        backoff.note_start(died_s + pauses[-1])

    assert pauses == [0.5, 1.0, 2.0, 0.0]
