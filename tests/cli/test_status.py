"""The running system on a screen: true, within its width, and there for as long as it is watched."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from select import select
from time import monotonic

import grpc
import pytest
from alpaserve.v1 import model_pb2, placement_pb2, planner_pb2, planner_pb2_grpc
from alpaserve_cli.status_picture import picture
from rich.console import Console

from tests.cli.scripted_planner import ScriptedPlanner

PATIENCE_S = 60.0


def group(name: str, *models: str, shares: tuple[float, ...] = (), is_alive: bool = True) -> planner_pb2.GroupStatus:
    config = model_pb2.ParallelConfig(inter_op=2, intra_op=1)
    one = placement_pb2.Group(name=name, config=config, devices=[0, 1], models=models)
    return planner_pb2.GroupStatus(group=one, is_alive=is_alive, num_in_flight=3, stage_busy_share=shares)


def status(*groups: planner_pb2.GroupStatus, models: int = 2) -> planner_pb2.GetStatusResponse:
    named = [planner_pb2.ModelStatus(name=f"m{index}", num_missed=index, num_met=9) for index in range(models)]
    for one in named:
        one.attainment = one.num_met / (one.num_met + one.num_missed)
    return planner_pb2.GetStatusResponse(
        placement_version=7,
        groups=groups,
        models=[*named, planner_pb2.ModelStatus(name="idle")],
        routers=[planner_pb2.RouterStatus(name="r0", placement_version=7)],
    )


def shown(found: planner_pb2.GetStatusResponse, trouble: str = "", num_lines: int = 24) -> list[str]:
    console = Console(width=80, height=num_lines, record=True, file=io.StringIO())
    console.print(picture(found, trouble, num_lines, 80))
    return console.export_text().splitlines()


def row(lines: list[str], name: str) -> list[str]:
    return next(line.split() for line in lines if line.startswith(f"{name} "))


def test_a_screen_of_80_columns_names_models_groups_and_what_is_wrong() -> None:
    found = status(group("g1", "m0", "m1", shares=(0.5, 0.99)), group("g2", "idle", is_alive=False))
    found.routers.add(name="r1", placement_version=6)
    lines = shown(found, "the planner is away")
    assert max(map(len, lines)) <= 80
    assert row(lines, "m1")[:5] == ["m1", "0", "9", "1", "90.0"]
    assert row(lines, "idle") == ["idle", "0", "0", "0", "–"]
    assert row(lines, "g1") == ["g1", "2x1", "0-1", "3", "0", "99%", "▅█", "m0", "m1"]
    assert row(lines, "g2")[3:] == ["silent", "–", "–", "idle"]
    text = "\n".join(lines)
    assert "router r1 serves placement 6" in text
    assert "silent: g2" in text
    assert "the planner is away" in text


@pytest.mark.parametrize("num_lines", [24, 50])
def test_what_does_not_fit_is_counted(num_lines: int) -> None:
    groups = [group(f"g{index}", "m" * 100, shares=(index / 100,) * 8) for index in range(60)]
    lines = shown(status(*groups, models=40), num_lines=num_lines)
    assert len(lines) < num_lines
    assert max(map(len, lines)) <= 80
    assert row(lines, "g59")
    assert row(lines, "m39")
    assert len([line for line in lines if "more" in line]) == 2


@contextmanager
def serving(port: int = 0) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    planner_pb2_grpc.add_PlannerServicer_to_server(Watched(), server)
    taken = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield taken
    finally:
        server.stop(0).wait()


class Watched(ScriptedPlanner):
    """Has a status."""

    def GetStatus(
        self, request: planner_pb2.GetStatusRequest, context: grpc.ServicerContext
    ) -> planner_pb2.GetStatusResponse:
        return status(group("g1", "m0", shares=(0.5, 0.5)))


class Terminal:
    """`alpaserve status --watch` in a terminal of 80 columns."""

    def __init__(self, port: int) -> None:
        self._screen, side = pty.openpty()
        termios.tcsetwinsize(side, (24, 80))
        command = [sys.executable, "-m", "alpaserve_cli", "status", "--watch", "--every", "0.1"]
        self.process = subprocess.Popen(
            [*command, "--planner", f"127.0.0.1:{port}"], stdin=side, stdout=side, stderr=side, close_fds=True
        )
        os.close(side)

    def see(self, text: str) -> None:
        """Wait until it is shown from now on."""
        seen, give_up_s = "", monotonic() + PATIENCE_S
        while text not in seen:
            assert monotonic() < give_up_s, f"no {text!r} in {seen[-2000:]!r}"
            if select([self._screen], [], [], 0.1)[0]:
                seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._screen, 65536).decode(errors="replace"))

    def press_q(self) -> None:
        os.write(self._screen, b"q")

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("leave", [Terminal.press_q, Terminal.interrupt])
def test_the_screen_outlives_the_planner_and_ends_when_told(leave: Callable[[Terminal], None]) -> None:
    with serving() as port:
        terminal = Terminal(port)
        terminal.see("Placement 7")
    terminal.see("has not answered")
    with serving(port):
        terminal.see("Placement 7")
        leave(terminal)
        assert terminal.process.wait(PATIENCE_S) == 0


def test_without_a_terminal_every_look_is_a_line_of_json() -> None:
    with serving() as port:
        command = [sys.executable, "-m", "alpaserve_cli", "status", "--watch", "--every", "0.1", "--output", "json"]
        watching = subprocess.Popen([*command, "--planner", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        looks = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.terminate()
        watching.wait(PATIENCE_S)
    assert looks[0] == looks[1]
    assert [model["attainment"] for model in looks[0]["models"]] == [1.0, 0.9, None]
    assert looks[0]["groups"][0]["stage_busy_share"] == [0.5, 0.5]
