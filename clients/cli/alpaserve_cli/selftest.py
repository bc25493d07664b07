"""`alpaserve selftest`: whether the running system works, every part of it tried for real."""

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from alpaserve_client import Client, ConnectionOptions, PlannerClient, ProfilerClient

from alpaserve_cli.addresses import (
    DEFAULT_PLANNER,
    DEFAULT_PROFILER,
    DEFAULT_ROUTER,
    PlannerOption,
    ProfilerOption,
    RouterOption,
)
from alpaserve_cli.connecting import connection
from alpaserve_cli.failures import CommandError
from alpaserve_cli.health import is_healthy
from alpaserve_cli.output import Output, OutputOption, print_json, print_table, progress_line
from alpaserve_cli.selftest_checks import Check, CheckFailed, Checks
from alpaserve_cli.selftest_trial import Trial


def selftest(
    router: RouterOption = DEFAULT_ROUTER,
    planner: PlannerOption = DEFAULT_PLANNER,
    profiler: ProfilerOption = DEFAULT_PROFILER,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that a check may take.")] = 300.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Try every part of the running system, and leave it as it was found.

    A tiny model is registered, profiled, placed on every group, with new ones of the devices that are in none, and
    asked on each of them; then what ran before runs again (where nothing did, groups without models stay). Fails if a
    check does, and tries no further.
    """
    with progress_line() as line:
        checks = Checks(lambda name: line.show(f"{name} …"))
        with suppress(CheckFailed):
            options = connection()
            for service, address in (("router", router), ("planner", planner), ("profiler", profiler)):
                checks.check(service, partial(serving, address, options))
            with (
                PlannerClient(planner, options) as placing,
                ProfilerClient(profiler, options) as measuring,
                Client(router, options) as asking,
            ):
                try_out(Trial(placing, measuring, asking, timeout), checks)
    passed = all(check.passed for check in checks.done)
    if output is Output.JSON:
        print_json({"passed": passed, "checks": [asdict(check) for check in checks.done]})
    else:
        print_checks(checks.done)
    if not passed:
        raise typer.Exit(1)


def serving(address: str, options: ConnectionOptions) -> str:
    """Raises: CommandError."""
    if not is_healthy(address, options.tls):
        raise CommandError(f"{address} does not say that it serves")
    return f"{address} serves"


def try_out(trial: Trial, checks: Checks) -> None:
    """From the store to an answer of each group, and back. Raises: CheckFailed."""
    checks.check("store and workers", trial.look)
    try:
        checks.check("register", trial.register)
        checks.check("profile", trial.profile)
        checks.check("place", trial.place)
        for number, model in enumerate(trial.models):
            checks.check(f"group {number}", partial(trial.ask, model))
    finally:
        checks.check("restore", trial.restore)


def print_checks(checks: list[Check]) -> None:
    """Print a row for each."""
    rows = ((check.name, "ok" if check.passed else "FAILED", check.seconds, check.found) for check in checks)
    print_table("Self-test", ("check", "", "s", "found"), rows)
