"""The command line as its users run it, in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from alpaserve_cli.__main__ import main


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Finished]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `alpaserve` with the arguments."""

    def run_command(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["alpaserve", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Finished(int(exit_.value.code or 0), captured.out, captured.err)

    return run_command
