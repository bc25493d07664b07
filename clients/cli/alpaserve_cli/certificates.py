"""`alpaserve certificates`: a certificate authority for development, and all that it signs."""

from pathlib import Path
from typing import Annotated

import typer

from alpaserve_cli.output import Output, OutputOption, print_json
from alpaserve_cli.security_files import TOKENS, SecurityFiles, new_authority


def certificates(
    directory: Annotated[Path, typer.Argument(help="Where the files go.")],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="A name or address of the services, beside this machine's own.")
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0.01, help="Days until the certificates expire.")] = 365.0,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a CA, a certificate for services, one for clients, and a token for each scope.

    For development: whoever has the directory has the system.
    """
    files = SecurityFiles(directory.expanduser().resolve())
    files.make(new_authority(days), host or (), replacing=force)
    if output is Output.JSON:
        tokens = {name: str(files.token_file(name)) for name in TOKENS}
        server, client = files.variables("server"), files.variables("client", "admin")
        print_json({"server": server, "client": client, "tokens_file": str(files.tokens_file), "tokens": tokens})
        return
    print(f"CA, certificates and tokens are in {files.directory}")
    print(f"  alpaserve up --secure --security-dir {files.directory}")
    print(f"  . {files.client_env}    # lets this shell's alpaserve commands in, as an admin")
