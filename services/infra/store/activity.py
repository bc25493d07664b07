"""What the last minutes came to, on Redis's own clock and in buckets of a second: deadlines met and missed by model, as
the routers saw them, and how busy the stages of each group were, as its leader saw them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from redis.asyncio import Redis

from services.infra.store import keys

KEPT_S = 120

_RECORD = """
local bucket = KEYS[1] .. redis.call('TIME')[1]
for i = 2, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', bucket, ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', bucket, ARGV[1])
return 0
"""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Requests that ended by their deadline, and those that did not."""

    num_met: int = 0
    num_missed: int = 0

    @property
    def attainment(self) -> float | None:
        """None if there were none."""
        num_ended = self.num_met + self.num_missed
        return self.num_met / num_ended if num_ended else None

    def __sub__(self, earlier: "Deadlines") -> "Deadlines":
        return Deadlines(self.num_met - earlier.num_met, self.num_missed - earlier.num_missed)


@dataclass(frozen=True, slots=True)
class Busyness:
    """Seconds that each stage of a group was busy (num_stages,), and the seconds that were looked at."""

    span_s: float
    busy_s: Sequence[float]

    @property
    def shares(self) -> tuple[float, ...]:
        """Of each stage; empty if no time was looked at."""
        return tuple(min(1.0, busy_s / self.span_s) for busy_s in self.busy_s) if self.span_s > 0 else ()


@dataclass(frozen=True, slots=True)
class Activity:
    """By model and by group; those of whom nothing was told are absent."""

    deadlines: Mapping[str, Deadlines] = field(default_factory=dict)
    busyness: Mapping[str, Busyness] = field(default_factory=dict)


class ActivityStore:
    """Adds up what routers and leaders tell once a heartbeat."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._record = redis.register_script(_RECORD)

    async def record_deadlines(self, deadlines: Mapping[str, Deadlines]) -> None:
        """Count requests of this second, by model."""
        counts: dict[str, float] = {}
        for model, one in deadlines.items():
            counts |= {f"met:{model}": one.num_met, f"missed:{model}": one.num_missed}
        await self._add({name: count for name, count in counts.items() if count})

    async def record_busyness(self, busyness: Mapping[str, Busyness]) -> None:
        """Count the time since each group's leader told last."""
        counts: dict[str, float] = {}
        for group, one in busyness.items():
            counts[f"span:{group}"] = one.span_s
            counts |= {f"busy:{stage}:{group}": busy_s for stage, busy_s in enumerate(one.busy_s)}
        await self._add(counts)

    async def window(self, num_seconds: int) -> Activity:
        """The sums over the last full seconds."""
        now_s, _ = await self._redis.time()
        async with self._redis.pipeline(transaction=False) as pipe:
            for second in range(now_s - num_seconds, now_s):
                pipe.hgetall(keys.activity(second))
            buckets = await pipe.execute()
        sums: defaultdict[str, float] = defaultdict(float)
        for bucket in buckets:
            for name, count in bucket.items():
                sums[name.decode()] += float(count)
        return activity(sums)

    async def _add(self, counts: Mapping[str, float]) -> None:
        if counts:
            flat = [item for pair in counts.items() for item in pair]
            await self._record(keys=[keys.ACTIVITY], args=[KEPT_S, *flat])


def activity(sums: Mapping[str, float]) -> Activity:
    """What summed buckets say; names end in those of models and groups, which may hold any character."""
    met, missed, span_s = (named(sums, kind) for kind in ("met", "missed", "span"))
    busy_s: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for name, seconds in named(sums, "busy").items():
        stage, _, group = name.partition(":")
        busy_s[group][int(stage)] = seconds
    return Activity(
        {
            model: Deadlines(round(met.get(model, 0)), round(missed.get(model, 0)))
            for model in sorted(met.keys() | missed.keys())
        },
        {group: Busyness(seconds, by_stage(busy_s[group])) for group, seconds in span_s.items()},
    )


def named(sums: Mapping[str, float], kind: str) -> dict[str, float]:
    return {name.removeprefix(f"{kind}:"): value for name, value in sums.items() if name.startswith(f"{kind}:")}


def by_stage(busy_s: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(busy_s.get(stage, 0.0) for stage in range(max(busy_s, default=-1) + 1))
