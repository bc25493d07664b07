"""What a process is told of Redis. No message repeats the URL, which may hold a password."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings
from redis.asyncio.connection import parse_url

from services.infra.store.connection import StoreAddress
from services.infra.variables import VARIABLES, OptionalPath


class StoreSettings(BaseSettings):
    """Where Redis is, and how it is reached."""

    model_config = VARIABLES

    redis_url: SecretStr = Field(description="The shared store, for example redis://127.0.0.1:6379/0.", min_length=1)
    redis_password: SecretStr = Field(SecretStr(""), description="Its password, if the URL has none.")
    redis_password_file: OptionalPath = Field(None, description="A file with that password.")
    redis_ca: OptionalPath = Field(
        None, description="With rediss://: CA of its certificate, PEM; without, those that the system trusts."
    )
    redis_certificate: OptionalPath = Field(None, description="With rediss://: the certificate to show to it, PEM.")
    redis_key: OptionalPath = Field(None, description="The private key of redis_certificate, PEM.")

    @property
    def store(self) -> StoreAddress:
        """Raises: OSError if the password's file cannot be read."""
        given, path = self.redis_password.get_secret_value(), self.redis_password_file
        files: dict[str, Path | None] = {
            "ssl_ca_certs": self.redis_ca,
            "ssl_certfile": self.redis_certificate,
            "ssl_keyfile": self.redis_key,
        }
        return StoreAddress(
            self.redis_url.get_secret_value(),
            given or (path.read_text().strip() if path is not None else ""),
            {name: str(file) for name, file in files.items() if file is not None},
        )

    @model_validator(mode="after")
    def check_store(self) -> Self:
        """A URL is refused without being repeated."""
        try:
            parsed: dict[str, Any] = dict(parse_url(self.redis_url.get_secret_value()))
        except ValueError:
            raise ValueError("ALPASERVE_REDIS_URL is no redis://, rediss:// or unix:// URL") from None
        try:
            files = self.store.files
            for file in files.values():
                Path(file).read_bytes()
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from None
        if files and "ssl" not in parsed.get("connection_class", object).__name__.lower():
            raise ValueError("ALPASERVE_REDIS_CA, _CERTIFICATE and _KEY need a rediss:// URL")
        return self
