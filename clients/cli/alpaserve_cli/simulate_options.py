"""How `alpaserve simulate` serves requests beyond what a placement records."""

from dataclasses import dataclass

from services.core.batched_simulator import Batching, batching_of


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """None: the placement's dispatch, the batches that it allows, weights that load at once."""

    dispatch: str | None = None
    batching: Batching | None = None
    load_bytes_per_s: float | None = None

    @classmethod
    def of(
        cls, dispatch: str | None, max_batch_size: int | None, batching_rule: str | None, load_bytes_per_s: float | None
    ) -> "SimulateOptions":
        """Raises: InvalidArgument for options that mean nothing, alone or together."""
        batching = batching_of(max_batch_size, batching_rule)
        if batching is not None and dispatch is not None:
            batching.check_dispatch(dispatch)
        return cls(dispatch, batching, load_bytes_per_s)
