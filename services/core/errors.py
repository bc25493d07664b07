"""Broken promises of a caller: raised where they are known, mapped to a gRPC status in one table.

Expected outcomes (a rejected request, a plan that places nothing) are values, not errors.
"""


class AlpaServeError(Exception):
    """A caller broke a promise. The message names the offending value and is safe to show."""


class InvalidArgument(AlpaServeError):
    """A value that no state of the system would accept."""


class InvalidInput(InvalidArgument):
    """Inputs of a request that its model does not take."""


class InvalidModel(InvalidArgument):
    """A checkpoint or config that cannot be read or is not supported."""


class InvalidProfile(InvalidArgument):
    """A profile that is not well formed."""


class InvalidSpec(InvalidArgument):
    """A cluster and models specification that is not well formed."""


class InvalidPlacement(InvalidArgument):
    """A placement that is not well formed or names devices or models that do not exist."""


class InvalidWorkload(InvalidArgument):
    """Arrivals that are not well formed."""


class DoesNotFit(AlpaServeError):
    """Weights that exceed the memory of their devices; the message carries the figures."""


class UnknownModel(AlpaServeError):
    """A model name nobody registered."""


class UnknownProfile(AlpaServeError):
    """A profile, or a parallel config of one, that does not exist."""


class NotPlaced(AlpaServeError):
    """A registered model that no group holds, or a plan with nothing to place."""


class StillPlaced(AlpaServeError):
    """A model that cannot be removed because a group holds it, or a profile because a model costs by it."""


class AlreadyExists(AlpaServeError):
    """A name that is taken by something different."""


class VersionConflict(AlpaServeError):
    """A plan made for an older placement version, or a transition that another one holds up."""


class Draining(AlpaServeError):
    """A process or group that takes no new work because it is going away."""


class GroupUnavailable(AlpaServeError):
    """A group went away before it started the request: safe to retry."""


class OutcomeUnknown(AlpaServeError):
    """A group went away after it started the request.

    `idempotent` says whether the model may be asked again.
    """

    def __init__(self, message: str, *, idempotent: bool) -> None:
        super().__init__(message)
        self.idempotent = idempotent


class DeadlinePassed(AlpaServeError):
    """The deadline passed while the request waited or ran."""


class SloUnattainable(AlpaServeError):
    """Predicted to miss its deadline, or the queue is full.

    `predicted_s` and `allowed_s` count from the arrival; `retry_after_s` is when the queue
    may have room again.
    """

    def __init__(self, message: str, predicted_s: float, allowed_s: float, retry_after_s: float) -> None:
        super().__init__(message)
        self.predicted_s = predicted_s
        self.allowed_s = allowed_s
        self.retry_after_s = retry_after_s


class PlannerUnavailable(AlpaServeError):
    """No planner is alive."""


class StoreUnavailable(AlpaServeError):
    """Redis cannot be reached or refused the write."""


class Unauthenticated(AlpaServeError):
    """The caller showed no token that is known here."""


class PermissionDenied(AlpaServeError):
    """The caller's token is not good for this."""
