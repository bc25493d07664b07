"""The last transition, step by step while it is under way, and what its steps take by experience."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.core.placement import Placement
from services.core.profile import ParallelConfig
from services.core.steps import Down, Step, StepCosts
from services.infra.store import keys
from services.infra.store.connection import followed

# How many steps of each kind on a worker tell what the next one takes.
REMEMBERED = 31


class TransitionState(StrEnum):
    """How far a transition is. One that was cut off lost its planner half-way."""

    RUNNING = "running"
    APPLIED = "applied"
    FAILED = "failed"
    CUT_OFF = "cut off"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step as it is planned, on which group, and when it really began and ended, in seconds from the begin. A
    switch has no group, and one that is to be formed no name yet; `num_bytes` is what each device loads."""

    step: Step
    group: str = ""
    config: ParallelConfig | None = None
    devices: tuple[int, ...] = ()
    num_bytes: int = 0
    begin_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class TransitionRecord:
    """A transition towards `target`: `version` is the one it started from, until it has published its own. Models in
    `predicted_down` and `down` have no group meanwhile; `transition_s` is what it took, once it is over."""

    number: int
    state: TransitionState
    version: int
    policy: str
    target: Placement
    began_at_s: float
    predicted_s: float
    steps: tuple[StepRecord, ...] = ()
    predicted_down: tuple[Down, ...] = ()
    down: tuple[Down, ...] = ()
    transition_s: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Experience:
    """What the last steps on some devices took, oldest first: bytes per second on each device of a load, seconds to
    form a group and to switch."""

    load_bytes_per_s: tuple[float, ...] = ()
    form_s: tuple[float, ...] = ()
    switch_s: tuple[float, ...] = ()

    def after(self, newer: "Experience") -> "Experience":
        """With newer steps, as many of each kind as are remembered."""
        return Experience(
            load_bytes_per_s=(self.load_bytes_per_s + newer.load_bytes_per_s)[-REMEMBERED:],
            form_s=(self.form_s + newer.form_s)[-REMEMBERED:],
            switch_s=(self.switch_s + newer.switch_s)[-REMEMBERED:],
        )

    def costs(self, unmeasured: StepCosts) -> StepCosts:
        """What such steps take, by the medians; as `unmeasured` has it where there were none."""
        return StepCosts(
            load_bytes_per_s=median(self.load_bytes_per_s or (unmeasured.load_bytes_per_s,)),
            form_s=median(self.form_s or (unmeasured.form_s,)),
            switch_s=median(self.switch_s or (unmeasured.switch_s,)),
        )


_record = TypeAdapter(TransitionRecord)
_experience = TypeAdapter(Experience)


class TransitionStore:
    """One record, since one transition at a time is under way; and experience by worker."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def new_number(self) -> int:
        return int(await self._redis.incr(keys.TRANSITION_COUNTER))

    async def last(self) -> TransitionRecord | None:
        """The one under way, or the last one that was."""
        document = await self._redis.get(keys.TRANSITION)
        return None if document is None else _record.validate_json(document)

    async def put(self, record: TransitionRecord) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.TRANSITION, _record.dump_json(record))
            pipeline.publish(keys.TRANSITION_FEED, record.number)
            await pipeline.execute()

    def watch(self, poll_s: float = 1.0) -> AsyncIterator[TransitionRecord | None]:
        """The last transition now, None without any, and then at every change; outlives an outage of Redis."""
        return followed(self._redis, keys.TRANSITION_FEED, self.last, lambda record: record, poll_s)

    async def experience(self) -> dict[str, Experience]:
        """By worker."""
        stored = await self._redis.hgetall(keys.STEP_COSTS)
        return {
            name.decode(): _experience.validate_json(document)
            for name, document in stored.items()
            if isinstance(name, bytes)
        }

    async def put_experience(self, experience: Mapping[str, Experience]) -> None:
        if experience:
            await self._redis.hset(
                keys.STEP_COSTS, mapping={name: _experience.dump_json(one) for name, one in experience.items()}
            )
