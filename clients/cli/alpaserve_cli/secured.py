"""`alpaserve up --secure`: what each process is told of certificates and tokens, and no more than it needs."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from alpaserve_cli.security_files import SecurityFiles, new_authority
from alpaserve_cli.supervisor import Member

_DAYS = 365.0
# The token that a service shows to others. The rest call nobody.
_TOKENS: Mapping[str, str] = {"planner": "admin", "router": "router"}


def security_files(directory: Path, host: str) -> SecurityFiles:
    """What the directory holds, made first if it holds nothing.

    Raises: CommandError if it holds a part, or cannot be written.
    """
    files = SecurityFiles(directory.resolve())
    if not files.is_there:
        files.make(new_authority(_DAYS), [host])
    return files


def secured(members: Iterable[Member], files: SecurityFiles, models_dir: Path) -> list[Member]:
    """The same services behind TLS and tokens, and checkpoints confined to a directory."""
    models_dir.mkdir(parents=True, exist_ok=True)
    shared = {"ALPASERVE_TOKENS_FILE": str(files.tokens_file), "ALPASERVE_MODELS_DIR": str(models_dir.resolve())}
    return [
        replace(member, env={**member.env, **shared, **files.variables("server", _TOKENS.get(member.service, ""))})
        for member in members
    ]
