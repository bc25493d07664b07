"""What the processes of a bench are told of each other, so that requests between them cost what serving's do."""

import secrets
from dataclasses import dataclass, field

from alpaserve_client import ConnectionOptions

from services.infra.security.links import Credentials, Entrance
from services.infra.security.tokens import Gatekeeper, OneToken, Scope
from services.profiler.settings import ProfilerSettings


@dataclass(frozen=True, slots=True)
class Way:
    """The settings of all, and the one token that opens each door on the way; empty without TLS."""

    settings: ProfilerSettings
    token: str = field(repr=False)

    def gatekeeper(self) -> Gatekeeper | None:
        return OneToken(self.token, Scope.INFER, Scope.SERVE) if self.token else None

    def entrance(self) -> Entrance:
        tls = self.settings.tls
        return Entrance(None if tls is None else tls.server_context(), self.gatekeeper())

    def credentials(self) -> Credentials:
        tls = self.settings.tls
        return Credentials(None if tls is None else tls.client_context(), lambda: self.token)

    def connection(self, timeout_s: float) -> ConnectionOptions:
        return ConnectionOptions(timeout_s=timeout_s, tls=self.settings.calling_tls, token=self.token)


def new_way(settings: ProfilerSettings) -> Way:
    """With a token that nobody has had before."""
    return Way(settings, "" if settings.tls is None else secrets.token_urlsafe(32))
