"""The page's HTTP server, in the planner's own event loop."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

from services.infra.settings import ServiceSettings

log = structlog.get_logger()

_GRACE_S = 2


class _Quiet(uvicorn.Server):
    """The process has its own signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class PageServer:
    """Binds at once, so that a port that is taken is told at the start."""

    def __init__(self, settings: ServiceSettings, port: int, app: ASGIApp) -> None:
        """Raises: OSError for a port that cannot be had."""
        tls = settings.tls
        asks = tls is not None and tls.ca is not None and tls.mutual
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_S,
            ssl_certfile=tls.certificate if tls is not None else None,
            ssl_keyfile=tls.key if tls is not None else None,
            ssl_ca_certs=str(tls.ca) if tls is not None and asks else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if asks else ssl.CERT_NONE,
        )
        self._socket = socket.create_server((settings.host, port))
        self._server = _Quiet(config)
        self.address = f"http{'s' if tls is not None else ''}://{settings.reachable_host}:{port}"

    async def serve(self) -> None:
        """Answer until it is cancelled."""
        log.info("page_serving", address=self.address)
        await self._server.serve(sockets=[self._socket])
