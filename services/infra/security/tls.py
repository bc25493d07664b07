"""One set of key files, as each of our libraries wants to hear of it. TLS 1.2 and newer."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a process: what it shows, and whose signature it asks of the other end.

    `mutual` is whether all callers must show a certificate; those of `server_context` must wherever there is a `ca`.
    """

    certificate: Path
    key: Path
    ca: Path | None = None
    mutual: bool = True

    def check(self) -> None:
        """Raises: OSError for a file that cannot be read, ssl.SSLError for one that is not what it should be."""
        for path in (self.certificate, self.key, self.ca):
            if path is not None:
                path.read_bytes()
        self.server_context()

    def expiry_s(self) -> float:
        """When the first of the certificates that are shown ends, seconds of the epoch. Whoever does not ask starts
        without the library."""
        from cryptography import x509

        shown = x509.load_pem_x509_certificates(self.certificate.read_bytes())
        return min(one.not_valid_after_utc for one in shown).timestamp()

    def server_credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        ca = self.ca.read_bytes() if self.ca is not None and self.mutual else None
        return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)

    def server_context(self) -> ssl.SSLContext:
        """For asyncio's servers; whoever connects must show a certificate if there is a `ca`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if self.ca is not None:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """For asyncio's connections; without a `ca` the system's are trusted."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def metrics_options(self) -> dict[str, Any]:
        """For prometheus_client's server."""
        files: dict[str, Any] = {"certfile": str(self.certificate), "keyfile": str(self.key)}
        if self.ca is not None:
            files |= {"client_cafile": str(self.ca), "client_auth_required": True}
        return files
