"""Commands that are imported when they are run: none waits for what only another one needs."""

from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A command's name, where it is defined, and the first line of its help."""

    name: str
    module: str
    attribute: str
    help: str


class LazyGroup(TyperGroup):
    """Lists its entries without importing them. `Any` is what typer takes from click, or from its own copy of it."""

    entries: ClassVar[tuple[Entry, ...]] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        return [entry.name for entry in self.entries]

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """What is enough to list a command."""
        for entry in self.entries:
            if entry.name == cmd_name:
                return TyperCommand(entry.name, help=entry.help)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is about to run, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        entry = next((entry for entry in self.entries if command is not None and entry.name == command.name), None)
        return name, command if entry is None else load(entry), rest


def load(entry: Entry) -> Any:
    """The command itself; what is defined is a function, or a group of commands."""
    defined = getattr(import_module(entry.module), entry.attribute)
    if isinstance(defined, typer.Typer):
        return typer.main.get_command(defined)
    alone = typer.Typer(add_completion=False)
    alone.command(entry.name)(defined)
    return typer.main.get_command(alone)
