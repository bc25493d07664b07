"""The `alpaserve` command: one place where its subcommands come together."""

import os
from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.lazy import Entry, LazyGroup


class Commands(LazyGroup):
    """All of them, with the first line of each one's help."""

    entries = (
        Entry("up", "alpaserve_cli.up", "up", "Run the whole system: Redis, planner, worker, profiler, routers."),
        Entry("infer", "alpaserve_cli.infer", "infer", "Run a model on one example."),
        Entry("plan", "alpaserve_cli.plan", "plan", "Find a placement that attains as much of a workload as possible."),
        Entry(
            "capacity",
            "alpaserve_cli.capacity",
            "capacity",
            "Find the most load that the cluster sustains at a target.",
        ),
        Entry("what-if", "alpaserve_cli.what_if", "what_if", "Plan every combination of devices, load and SLOs."),
        Entry("apply", "alpaserve_cli.placement", "apply", "Make a placement the running one; returns when it is."),
        Entry("placement", "alpaserve_cli.placement", "placement", "Show what runs where."),
        Entry(
            "diff",
            "alpaserve_cli.diff",
            "diff",
            "Compare two placements: groups, replicas, and with --spec and --profiles the bytes to load.",
        ),
        Entry(
            "rollback",
            "alpaserve_cli.placement",
            "rollback",
            "Make an older version's placement the running one, as a new version.",
        ),
        Entry(
            "profile",
            "alpaserve_cli.profile",
            "profile",
            "Profile MODELS under parallel configs; or --import, --import-alpa, --list, --show, --remove profiles.",
        ),
        Entry(
            "simulate", "alpaserve_cli.simulate", "simulate", "Simulate a placement on a workload, request by request."
        ),
        Entry(
            "replay",
            "alpaserve_cli.replay.command",
            "replay",
            "Send a workload to routers as it would arrive, open loop, and count what came in time.",
        ),
        Entry(
            "report",
            "alpaserve_cli.report",
            "report",
            "Write a placement under a workload as one HTML file, which needs nothing beside it.",
        ),
        Entry("models", "alpaserve_cli.models", "models_app", "Register, list, place, withdraw and remove models."),
        Entry("workload", "alpaserve_cli.workload", "workload_app", "Draw, read, change and describe workloads."),
        Entry(
            "decisions",
            "alpaserve_cli.decisions",
            "decisions",
            "Show what the planner decided by itself: whether to re-place, and why.",
        ),
        Entry(
            "certificates",
            "alpaserve_cli.certificates",
            "certificates",
            "Make a CA, a certificate for services, one for clients, and a token for each scope.",
        ),
        Entry(
            "status",
            "alpaserve_cli.status",
            "status",
            "Show the running system. With --watch, live in a terminal, else as a JSON document a line.",
        ),
        Entry(
            "selftest",
            "alpaserve_cli.selftest",
            "selftest",
            "Try every part of the running system, and leave it as it was found.",
        ),
    )


app = typer.Typer(
    name="alpaserve",
    help="Serve many models on one cluster within their SLOs.",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def alpaserve(
    tls_ca: Annotated[
        Path | None, typer.Option(envvar="ALPASERVE_TLS_CA", help="CA that signed the services' certificates.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(envvar="ALPASERVE_TLS_CERTIFICATE", help="Certificate to show to services.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="ALPASERVE_TLS_KEY", help="Its private key.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(envvar="ALPASERVE_TOKEN_FILE", help="File with a token; or set ALPASERVE_TOKEN.")
    ] = None,
) -> None:
    """Serve many models on one cluster within their SLOs."""
    given = {"TLS_CA": tls_ca, "TLS_CERTIFICATE": tls_certificate, "TLS_KEY": tls_key, "TOKEN_FILE": token_file}
    os.environ |= {f"ALPASERVE_{name}": str(path) for name, path in given.items() if path is not None}
