"""The whole system on this machine: profile, plan, serve a real trace, re-place under traffic, compare.

Exits non-zero if a request failed for any reason other than its SLO.
"""

import argparse
import shutil
import sys
from pathlib import Path

from act import Act, Cast, play
from alpaserve_cli.output import progress_line
from alpaserve_cli.replay.live import progress_text
from alpaserve_client import PlannerClient, ProfilerClient
from rich.console import Console
from scenario import DURATION_S, MODELS, Scenario, SentenceInputs, make_scenario, make_spec
from system import System, control_plane, measure_model, register_models, worker
from tables import show_act, widest_gap

from services.core.profile import Profiles


def main() -> int:
    arguments = parse_arguments()
    console = Console()
    scenario = make_scenario(arguments.seed, arguments.duration)
    inputs = SentenceInputs(arguments.seed)
    console.rule("AlpaServe demo")
    show_scenario(console, scenario, arguments.seed)
    acts = []
    directory = fresh_directory()
    console.print(f"logs in {directory}")
    with control_plane(directory) as (system, env):
        profiles = prepare(console, system)
        cast = Cast(system.planner, system.router, inputs, make_spec(), profiles, arguments.seed)
        for executor in ("jax", "emulated"):
            with worker(executor, env, directory) as process:
                console.rule(f"{executor} devices")
                console.print(f"worker {process.pid} serves at {process.address}")
                with progress_line() as line:
                    act = play(executor, scenario, cast, lambda progress: line.show(progress_text(progress)))
                show_act(console, act)
                acts.append(act)
    return conclude(console, acts)


def fresh_directory() -> Path:
    """Where this run keeps its data and logs; what the last run left is removed."""
    directory = Path(".alpaserve/demo")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory.absolute()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="deals the trace's functions to models; plans with it")
    parser.add_argument("--duration", type=float, default=DURATION_S, help="seconds the trace is compressed to")
    return parser.parse_args()


def show_scenario(console: Console, scenario: Scenario, seed: int) -> None:
    counts = scenario.workload.num_requests_of
    shares = ", ".join(f"{name} {count}" for name, count in zip(MODELS, counts, strict=True))
    console.print(
        f"{len(scenario.workload)} requests of Azure Functions 2021 in {scenario.workload.span_s:.0f} s "
        f"to {len(MODELS)} copies of all-MiniLM-L6-v2 ({shares}); "
        f"their popularity turns over at {scenario.flip_s:.0f} s. Seed {seed}."
    )


def prepare(console: Console, system: System) -> Profiles:
    """Register the models and measure them."""
    with PlannerClient(system.planner) as planner, ProfilerClient(system.profiler) as profiler:
        register_models(planner)
        console.rule("Profile")
        return measure_model(profiler, console)


def conclude(console: Console, acts: list[Act]) -> int:
    """The verdict, as an exit status."""
    console.rule()
    for act in acts:
        console.print(f"{act.executor}: measured and simulated differ by at most {widest_gap(act):.1f} points a model")
    wrong = sum(act.num_failed + act.num_lost + act.num_doubled for act in acts)
    console.print(f"{wrong} requests failed" if wrong else "every request was answered once, or missed its SLO")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
