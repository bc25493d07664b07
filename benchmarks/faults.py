"""Faults under load, each in the whole system: what becomes of the requests, and when all is well again.

`python -m benchmarks.faults [FAULT …]`; see `benchmarks.supervised` for what runs.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
from alpaserve_cli.replay import Outcome, Progress, Replay, ReplayOptions, ReplayResult
from redis.asyncio import Redis

from benchmarks.recorded_devices import num_runs
from benchmarks.report import table, title
from benchmarks.supervised import WHOLE_S, Supervised, supervised
from services.core.workload import Workload
from services.infra.background import repeating

MODELS = ("fast", "once", "left", "right")
MAY_REPEAT = np.array([True, False, True, False])
# Requests per second, and the SLO of each model in seconds; without one a request may take PATIENCE_S.
RATES_PER_S = np.array([24, 12, 12, 12])
SLO_S = {"fast": 1.0, "left": 0.5}
PATIENCE_S = 15.0
BEFORE_S, LASTING_S, AFTER_S = 2.0, 8.0, 4.0
# Every effect of a fault shows within so much time; as many requests are under way in a system that is well.
NOTICED_S, UNDER_WAY = 0.5, 20
# Returns when its cause is over.
Fault = Callable[[Supervised], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ending:
    """What a fault did. `num_doubled` counts further answers, and further runs of what may not be repeated;
    `num_hung` those without a definite answer a second after their deadline. `late_s`, by how much the latest
    was sent late, tells how busy the machine was otherwise."""

    num_requests: int
    num_served: int
    num_missed: int
    num_failed: int
    num_lost: int
    num_doubled: int
    num_hung: int
    num_repeated: int
    recovery_s: float
    late_s: float


def killed(victim: str) -> Fault:
    async def fault(system: Supervised) -> None:
        os.kill(system.pid(victim), signal.SIGKILL)

    return fault


async def leader_killed(system: Supervised) -> None:
    os.kill(system.leader_pid("left"), signal.SIGKILL)


async def leader_hung(system: Supervised) -> None:
    """Nobody wakes it up."""
    os.kill(system.leader_pid("left"), signal.SIGSTOP)


def hung(victim: str) -> Fault:
    async def fault(system: Supervised) -> None:
        pid = system.pid(victim)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(LASTING_S)
        os.kill(pid, signal.SIGCONT)

    return fault


async def redis_full(system: Supervised) -> None:
    async with Redis.from_url(system.redis.url) as redis:
        await redis.config_set("maxmemory", 1)
        await asyncio.sleep(LASTING_S)
        await redis.config_set("maxmemory", 0)


async def redis_unable_to_save(system: Supervised) -> None:
    """Redis refuses every write once it could not save, as on a full disk: a directory is where its file should be."""
    obstacle = system.directory / "redis" / "dump.rdb"
    async with Redis.from_url(system.redis.url) as redis:
        obstacle.mkdir()
        await redis.config_set("save", "3600 1")
        await redis.bgsave()
        await asyncio.sleep(LASTING_S)
        obstacle.rmdir()
        await redis.config_set("save", "")
        await redis.config_set("stop-writes-on-bgsave-error", "no")


async def network_silent(system: Supervised) -> None:
    system.relay.swallow()
    await asyncio.sleep(LASTING_S)
    await system.relay.heal()


async def network_refused(system: Supervised) -> None:
    await system.relay.reset()
    await asyncio.sleep(LASTING_S)
    await system.relay.heal()


FAULTS: dict[str, Fault] = {
    "kill -9 router": killed("router"),
    "kill -9 worker": killed("left"),
    "kill -9 group actor": leader_killed,
    "kill -9 planner": killed("planner"),
    "kill -9 profiler": killed("profiler"),
    "kill -9 Redis": killed("redis"),
    "worker hangs for 8 s": hung("left"),
    "group actor hangs": leader_hung,
    "Redis hangs for 8 s": hung("redis"),
    "Redis full for 8 s": redis_full,
    "Redis unable to save for 8 s": redis_unable_to_save,
    "network silent for 8 s": network_silent,
    "network refused for 8 s": network_refused,
}


def workload(seed: int) -> Workload:
    """Poisson arrivals, longer than any fault lasts."""
    rng = np.random.default_rng(seed)
    duration_s = BEFORE_S + LASTING_S + WHOLE_S + AFTER_S
    rate_per_s = RATES_PER_S.sum()
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, int(duration_s * rate_per_s)))
    model = rng.choice(len(MODELS), len(arrival_s), p=RATES_PER_S / rate_per_s).astype(np.int32)
    slo_s = np.array([SLO_S.get(name, np.nan) for name in MODELS])[model]
    return Workload(arrival_s, model, slo_s, MODELS)


class Sight:
    """What a replay shows while it runs: when it began, and when a request last ended badly or was waited for."""

    def __init__(self) -> None:
        self.begun_s = self.ill_s = 0.0
        self._num_bad = 0

    def see(self, progress: Progress) -> None:
        now_s = monotonic()
        self.begun_s = now_s - progress.elapsed_s
        num_bad = sum(count for kind, count in progress.outcomes.items() if kind != "served")
        if num_bad > self._num_bad or progress.num_sent - progress.num_answered > UNDER_WAY:
            self._num_bad, self.ill_s = num_bad, now_s

    async def well(self) -> None:
        """Raises: TimeoutError if requests never end well for AFTER_S."""
        async with asyncio.timeout(WHOLE_S):
            async for _ in repeating(0.1):
                if monotonic() - self.ill_s >= AFTER_S:
                    return


async def suffered(system: Supervised, fault: Fault, seed: int) -> Ending:
    """One fault under load, from a whole system to a whole system."""
    system.record.unlink(missing_ok=True)
    sight = Sight()
    options = ReplayOptions(timeout_s=PATIENCE_S, progress_every_s=0.1)
    replay = Replay(workload(seed), system.routers, lambda _, number: {"x": np.array([number])}, options)
    replaying = asyncio.create_task(replay.run(sight.see))
    await asyncio.sleep(BEFORE_S)
    await fault(system)
    over_s = sight.ill_s = monotonic()
    await asyncio.sleep(NOTICED_S)
    await system.whole()
    whole_s = monotonic()
    await sight.well()
    await system.whole()
    replay.stop()
    return ending(await replaying, system.record, over_s - sight.begun_s, whole_s - sight.begun_s)


def ending(result: ReplayResult, record: Path, over_s: float, whole_s: float) -> Ending:
    """The fault was over at `over_s`, and all served at `whole_s`, on the clock of the arrivals."""
    sent, outcome = result.sent, result.outcome
    runs = num_runs(record)
    num_runs_of = np.array([runs[number] for number in range(len(outcome))])
    again = np.maximum(num_runs_of - 1, 0)
    may_repeat = MAY_REPEAT[result.model]
    deadline_s = np.minimum(result.slo_s + 1.0, PATIENCE_S - 0.01)
    answered = result.num_answers > 0
    missed = np.isin(outcome, (Outcome.LATE.value, Outcome.REJECTED.value))
    last_bad_s = float(result.arrival_s[sent & ~result.attained].max(initial=over_s))
    return Ending(
        num_requests=int(sent.sum()),
        num_served=int(result.attained.sum()),
        num_missed=int(missed.sum()),
        num_failed=int(np.equal(outcome, Outcome.FAILED.value).sum()),
        num_lost=int((sent & ~answered).sum()),
        num_doubled=int(np.maximum(result.num_answers - 1, 0).sum() + again[~may_repeat].sum()),
        num_hung=int((answered & (result.latency_s > deadline_s)).sum()),
        num_repeated=int(again[may_repeat].sum()),
        recovery_s=max(0.0 if whole_s - over_s < 2 * NOTICED_S else whole_s - over_s, last_bad_s - over_s),
        late_s=float(result.send_delay_s[sent].max()),
    )


async def run(names: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        async with supervised(Path(directory)) as system:
            rows = []
            for seed, name in enumerate(names):
                print(name, file=sys.stderr, flush=True)
                end = await suffered(system, FAULTS[name], seed)
                rows.append((name, end))
                print(end, file=sys.stderr, flush=True)
                await system.whole()
    title("Faults under 60 requests/s, whole system, emulated devices, every request sent once")
    header = (
        "requests",
        "served",
        "missed SLO",
        "failed",
        "lost",
        "doubled",
        "hung",
        "repeated",
        "s to recovery",
        "sent late, s",
    )
    table(
        ("fault", *header),
        (
            (
                name,
                end.num_requests,
                end.num_served,
                end.num_missed,
                end.num_failed,
                end.num_lost,
                end.num_doubled,
                end.num_hung,
                end.num_repeated,
                round(end.recovery_s, 1),
                round(end.late_s, 2),
            )
            for name, end in rows
        ),
    )


def main() -> None:
    names = sys.argv[1:] or list(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise SystemExit(f"there is no fault {name!r}; there are: {', '.join(FAULTS)}")
    asyncio.run(run(names))


if __name__ == "__main__":
    main()
