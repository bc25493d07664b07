"""What a process is told of keys and tokens. Secrets come by file or environment, and no message repeats them."""

from ssl import SSLError
from typing import Self

from alpaserve_client.security import Tls, check_token
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from services.core.errors import InvalidArgument
from services.infra.security.links import Credentials, Entrance
from services.infra.security.tls import TlsFiles
from services.infra.security.tokens import Gatekeeper, Tokens, read_tokens
from services.infra.variables import VARIABLES, OptionalPath


class SecuritySettings(BaseSettings):
    """All of it is off by default."""

    model_config = VARIABLES

    tls_certificate: OptionalPath = Field(
        None, description="This process's certificate, PEM, shown by its servers and in its calls; switches TLS on."
    )
    tls_key: OptionalPath = Field(None, description="The private key of tls_certificate, PEM.")
    tls_ca: OptionalPath = Field(
        None, description="PEM file: other processes, and callers, must show a certificate that one of these signed."
    )
    tls_mutual: bool = Field(
        True, description="Whether callers of gRPC and the page must; leaders and metrics always ask for one."
    )
    tokens_file: OptionalPath = Field(
        None, description="YAML or JSON: names, SHA-256 and scopes of the tokens that callers may show; they must."
    )
    token: SecretStr = Field(SecretStr(""), description="The token that this process shows in its calls.")
    token_file: OptionalPath = Field(None, description="A file with that token.")

    @property
    def tls(self) -> TlsFiles | None:
        """None where TLS is off."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_ca, self.tls_mutual)

    @property
    def calling_tls(self) -> Tls | None:
        """For calls to other processes."""
        return None if self.tls is None else Tls(self.tls.ca, self.tls.certificate, self.tls.key)

    def credentials(self) -> Credentials:
        """For connections to leaders."""
        return Credentials(None if self.tls is None else self.tls.client_context(), self.own_token)

    def gatekeeper(self) -> Gatekeeper | None:
        """None where no token is asked for. Raises: InvalidArgument for a file of no use."""
        return None if self.tokens_file is None else Tokens(self.tokens_file)

    def entrance(self) -> Entrance:
        """For leaders. Raises: InvalidArgument as above."""
        return Entrance(None if self.tls is None else self.tls.server_context(), self.gatekeeper())

    def own_token(self) -> str:
        """Empty where there is none. Raises: OSError if its file cannot be read."""
        given = self.token.get_secret_value()
        return given or (self.token_file.read_text().strip() if self.token_file is not None else "")

    @model_validator(mode="after")
    def check_security(self) -> Self:
        """Half a configuration is no security."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("ALPASERVE_TLS_CERTIFICATE and ALPASERVE_TLS_KEY go together")
        if self.tls is None and self.tls_ca is not None:
            raise ValueError("ALPASERVE_TLS_CA needs ALPASERVE_TLS_CERTIFICATE: this process would have none to show")
        if self.tls is None and self.tokens_file is not None:
            raise ValueError("ALPASERVE_TOKENS_FILE needs ALPASERVE_TLS_CERTIFICATE: tokens would travel in the clear")
        try:
            if self.tls is not None:
                self.tls.check()
            check_token(self.own_token(), self.calling_tls)
            if self.tokens_file is not None:
                read_tokens(self.tokens_file)
        except InvalidArgument as error:
            raise ValueError(str(error)) from None
        except SSLError as error:
            raise ValueError(f"certificate, key and CA of TLS do not load: {error.reason}") from None
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from None
        return self
