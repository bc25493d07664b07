"""What a self-test has tried so far; a check that fails ends it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from alpaserve_client import AlpaServeClientError

from alpaserve_cli.failures import CommandError


@dataclass(frozen=True, slots=True)
class Check:
    """What was tried, whether it worked, how long it took, and what was found, or why not."""

    name: str
    passed: bool
    seconds: float
    found: str


class CheckFailed(Exception):
    """It is among the checks."""


@dataclass(slots=True)
class Checks:
    """Tries one thing after the other; `on_check` hears the name of each before."""

    on_check: Callable[[str], None]
    done: list[Check] = field(default_factory=list)

    def check(self, name: str, attempt: Callable[[], str]) -> None:
        """Note what `attempt` finds. Raises: CheckFailed if a service or the attempt itself refuses."""
        self.on_check(name)
        begun_s = monotonic()
        try:
            found = attempt()
        except (AlpaServeClientError, CommandError) as error:
            self.done.append(Check(name, False, monotonic() - begun_s, str(error)))
            raise CheckFailed from error
        self.done.append(Check(name, True, monotonic() - begun_s, found))
