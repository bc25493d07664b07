"""`alpaserve up`: the real services, emulated devices, one machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.request import urlopen

import pytest
from alpaserve.v1 import model_pb2, placement_pb2
from alpaserve_cli.up import Controller, Layout, ReplaceMode, members
from alpaserve_client import Client, PlannerClient, ProfilerClient

from services.planner.controllers.controllers import CONTROLLERS
from services.planner.settings import PlannerSettings
from tests.cli.conftest import Run
from tests.cli.process_table import running_with
from tests.documents import read_document
from tests.e2e.cluster import free_port

STAGE = {"inter_op": 2, "intra_op": 1, "batch_size": 1, "stage_latency_s": [0.01, 0.01], "stage_weight_bytes": [1, 1]}
PROFILES = {"schema": "alpaserve.profiles/v1", "models": [{"model": "m0", "profiles": [STAGE]}]}


@dataclass
class Up:
    """A running `alpaserve up`."""

    process: subprocess.Popen[str]
    addresses: dict[str, str]
    pids: dict[str, int]
    page: str

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextmanager
def up(data_dir: Path, *arguments: str) -> Iterator[Up]:
    command = [sys.executable, "-m", "alpaserve_cli", "up", "--data-dir", str(data_dir), "--port", "0"]
    options = ["--executor", "emulated", "--num-devices", "2", "--drain", "5", "--output", "json", *arguments]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            told = read_document(process)
            yield Up(process, told["addresses"], told["pids"], told.get("page", ""))
        finally:
            if process.poll() is None:
                process.kill()


def place_a_model(running: Up) -> None:
    with ProfilerClient(running.addresses["profiler"]) as profiler:
        profiler.import_profiles(json.dumps(PROFILES).encode())
    config = model_pb2.ParallelConfig(inter_op=2, intra_op=1)
    group = placement_pb2.Group(config=config, devices=[0, 1], models=["m0"])
    with PlannerClient(running.addresses["planner"]) as planner:
        planner.register_model(model_pb2.Model(name="m0"))
        planner.apply(placement_pb2.Placement(groups=[group]))


def answers_within(address: str, timeout_s: float) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        try:
            with Client(address) as client:
                return client.infer("m0", {}, timeout_s=5).group != ""
        except Exception:
            time.sleep(0.2)
    return False


def nothing_left_within(data_dir: Path, timeout_s: float) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while running_with(data_dir) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    return not running_with(data_dir)


@pytest.mark.slow
def test_it_revives_what_died_keeps_what_was_placed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    with up(tmp_path, "--routers", "2", "--page-port", str(port)) as running:
        assert running.page == f"http://127.0.0.1:{port}/"
        place_a_model(running)
        assert "m0" in urlopen(running.page, timeout=10).read().decode()
        assert answers_within(running.addresses["router-2"], 10)
        os.kill(running.pids["router"], signal.SIGKILL)
        assert answers_within(running.addresses["router"], 20)
        time.sleep(1.2)  # Redis writes once a second
        running.end(signal.SIGKILL)
    assert nothing_left_within(tmp_path, 20)

    with up(tmp_path) as running:
        assert answers_within(running.addresses["router"], 20)
        assert running.end(signal.SIGINT) == 0
    assert nothing_left_within(tmp_path, 5)


def test_a_taken_port_is_told(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run("up", "--data-dir", tmp_path, "--port", port)

    assert finished.exit_code == 1
    assert finished.stderr.startswith(f"error: port {port} of 127.0.0.1: Address already in use")


def test_a_page_on_a_service_s_port_is_refused(run: Run, tmp_path: Path) -> None:
    finished = run("up", "--data-dir", tmp_path, "--port", 42_000, "--page-port", 42_001)

    assert finished.exit_code == 1
    assert finished.stderr.startswith("error: --page-port 42001 is that of a service")


@pytest.mark.parametrize("arguments", [("--routers", "0"), ("--num-devices", "0"), ("--executor", "tpu")])
def test_an_option_that_makes_no_sense_is_refused(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("up", *arguments).exit_code == 2


def test_no_two_services_of_a_machine_take_one_metrics_port(tmp_path: Path) -> None:
    layout = Layout("emulated", 1, None, num_routers=2, host="127.0.0.1", first_port=0)

    ports = [member.env["ALPASERVE_METRICS_PORT"] for member in members(layout, tmp_path, "redis://h:6379/0", 1.0)]

    assert ports == ["0"] * 5


def planner_names(setting: str) -> set[str]:
    return set(get_args(PlannerSettings.model_fields[setting].annotation))


def test_the_planner_and_its_options_know_the_same_names() -> None:
    assert planner_names("controller") == set(Controller) == set(CONTROLLERS)
    assert planner_names("replace_mode") == set(ReplaceMode)
