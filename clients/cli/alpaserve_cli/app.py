"""The `alpaserve` command: one place where its subcommands come together."""

import typer

from alpaserve_cli.infer import infer
from alpaserve_cli.models import models_app
from alpaserve_cli.placement import apply, placement, rollback
from alpaserve_cli.plan import plan
from alpaserve_cli.profile import profile
from alpaserve_cli.replay_command import replay
from alpaserve_cli.simulate import simulate
from alpaserve_cli.status import status
from alpaserve_cli.up import up

app = typer.Typer(
    name="alpaserve",
    help="Serve many models on one cluster within their SLOs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(infer)
app.command()(plan)
app.command()(apply)
app.command()(placement)
app.command()(rollback)
app.command()(profile)
app.command()(simulate)
app.command()(replay)
app.add_typer(models_app, name="models")
app.command()(status)


@app.callback()
def alpaserve() -> None:
    """Serve many models on one cluster within their SLOs."""
