"""The list of commands, which imports none of them."""

import subprocess
import sys

import pytest
from alpaserve_cli.app import Commands
from alpaserve_cli.lazy import Entry, load

from tests.cli.conftest import Run

HEAVY = ("numba", "scipy", "matplotlib", "grpc", "redis", "numpy", "pydantic_settings")


@pytest.mark.parametrize("entry", Commands.entries, ids=lambda entry: entry.name)
def test_a_command_is_listed_with_the_first_line_of_its_help(entry: Entry) -> None:
    assert load(entry).help.strip().splitlines()[0] == entry.help


def test_help_lists_every_command(run: Run) -> None:
    listed = run("--help").stdout

    assert all(f" {entry.name} " in listed for entry in Commands.entries)


def test_help_imports_nothing_heavy() -> None:
    program = f"""
import sys
from alpaserve_cli.__main__ import main
sys.argv = ["alpaserve", "--help"]
try:
    main()
except SystemExit:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stderr.strip() == "[]"


@pytest.mark.parametrize("command", ["placement", "simulate", "models"])
def test_a_command_that_plans_nothing_imports_no_solver(command: str) -> None:
    entry = next(entry for entry in Commands.entries if entry.name == command)
    program = (
        f"import sys; from importlib import import_module; import_module({entry.module!r});"
        "print([name for name in ('numba', 'scipy', 'matplotlib') if name in sys.modules])"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"


def test_a_command_that_is_none_is_refused(run: Run) -> None:
    finished = run("planet")

    assert (finished.exit_code, finished.stdout) == (2, "")
    assert "planet" in finished.stderr
