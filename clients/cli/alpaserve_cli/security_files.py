"""A directory with all that a secured system needs for development: a CA, certificates, tokens."""

import hashlib
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alpaserve_cli.failures import CommandError

if TYPE_CHECKING:
    from alpaserve_cli.authority import Authority

# By name: what it may do. Leaders let in whoever has `serve`, so no client does.
TOKENS: Mapping[str, tuple[str, ...]] = {
    "router": ("infer", "serve"),
    "infer": ("infer",),
    "plan": ("plan",),
    "admin": ("infer", "plan", "admin"),
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class SecurityFiles:
    """Where each file of a directory is. Keys and tokens are the owner's alone to read."""

    directory: Path

    @property
    def tokens_file(self) -> Path:
        """Digests and scopes: what services are told of tokens."""
        return self.directory / "tokens.yaml"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def client_env(self) -> Path:
        """A shell reads it, and its `alpaserve` commands are let in."""
        return self.directory / "client.env"

    @property
    def is_there(self) -> bool:
        return all(path.exists() for path in (self.tokens_file, *map(self.token_file, TOKENS)))

    def token_file(self, name: str) -> Path:
        return self.directory / f"{name}.token"

    def variables(self, pair: str, token: str = "") -> dict[str, str]:
        """The environment of a process that shows the certificate `pair`, server or client, and one of the tokens."""
        return {
            "ALPASERVE_TLS_CA": str(self.ca),
            "ALPASERVE_TLS_CERTIFICATE": str(self.directory / f"{pair}.pem"),
            "ALPASERVE_TLS_KEY": str(self.directory / f"{pair}-key.pem"),
            "ALPASERVE_TOKEN": "",
            "ALPASERVE_TOKEN_FILE": str(self.token_file(token)) if token else "",
        }

    def make(self, authority: "Authority", hosts: Sequence[str] = (), *, replacing: bool = False) -> None:
        """Make everything anew; the server's certificate names this machine's loopback and `hosts`.

        Raises: CommandError if something is there already and may not be replaced, or cannot be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            contents = dict(self._contents(authority, hosts))
            present = [path.name for path in contents if path.exists()]
            if present and not replacing:
                raise CommandError(
                    f"{self.directory} has {', '.join(sorted(present))}; alpaserve certificates --force replaces them"
                )
            for path, content in contents.items():
                write_own(path, content)
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None

    def _contents(self, authority: "Authority", hosts: Sequence[str]) -> Iterator[tuple[Path, bytes]]:
        pairs = {
            "ca": authority.own,
            "server": authority.sign("server", (*LOOPBACK, *hosts)),
            "client": authority.sign("client"),
        }
        for name, pair in pairs.items():
            yield self.directory / f"{name}.pem", pair.certificate
            yield self.directory / f"{name}-key.pem", pair.key
        rows = []
        for name, scopes in TOKENS.items():
            token = secrets.token_urlsafe(32)
            yield self.token_file(name), f"{token}\n".encode()
            digest = hashlib.sha256(token.encode()).hexdigest()
            rows.append(f"  - {{name: {name}, sha256: {digest}, scopes: [{', '.join(scopes)}]}}\n")
        yield self.tokens_file, ("schema: alpaserve.tokens/v1\ntokens:\n" + "".join(rows)).encode()
        variables = self.variables("client", "admin")
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
        yield self.client_env, "".join(lines).encode()


def write_own(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, in place of the one before."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def new_authority(days: float) -> "Authority":
    """One whose certificates are valid for `days`; `up` starts sooner without its library."""
    from alpaserve_cli.authority import Authority

    return Authority(days)
