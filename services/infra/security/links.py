"""The connections between routers and leaders: how each end knows the other."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from alpaserve.v1 import leader_pb2

from services.infra.security.tokens import Gatekeeper, Scope


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the end that connects shows: a certificate by `context`, and a token. None of it by default."""

    context: ssl.SSLContext | None = None
    token: Callable[[], str] = str


NO_CREDENTIALS = Credentials()


@dataclass(frozen=True, slots=True)
class Entrance:
    """What the end that listens asks for. Nothing by default."""

    context: ssl.SSLContext | None = None
    gatekeeper: Gatekeeper | None = None

    def admit(self, opening: leader_pb2.Open) -> None:
        """Raises: Unauthenticated, PermissionDenied."""
        if self.gatekeeper is not None:
            self.gatekeeper.caller(f"Bearer {opening.token}" if opening.token else None).require(Scope.SERVE)


OPEN_TO_ALL = Entrance()
