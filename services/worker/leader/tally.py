"""What a leader counts of its group, for whoever asks whether it is alive."""

from dataclasses import dataclass

from services.infra.meters import QUEUE_BOUNDS_S, Distribution


@dataclass(frozen=True, slots=True)
class GroupTally:
    """`busy_s` (num_stages,) is how long each stage ran batches so far; `num_waiting` of the `num_in_flight` have not
    begun. `queue_counts` (num_bounds + 1,) and `queue_s` are the queue times of answered requests, by `QUEUE_BOUNDS_S`
    and in sum."""

    group: str
    busy_s: tuple[float, ...]
    num_in_flight: int
    num_waiting: int
    queue_counts: tuple[int, ...]
    queue_s: float

    @property
    def queue_time_s(self) -> Distribution:
        return Distribution(QUEUE_BOUNDS_S, self.queue_counts, self.queue_s)
