"""How commands speak: one JSON document or tables on stdout, progress on stderr if a person watches."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer


class Output(StrEnum):
    """What goes to stdout."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="What to print: tables, or one JSON document.")]


def print_json(document: Any) -> None:
    """Print one document, floats unrounded.

    In one piece even where nothing is buffered: who has read the closing brace may hang up.
    """
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, figures aligned right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    lines = [tuple(row) for row in rows]
    for column, name in enumerate(header):
        is_figure = all(_is_figure(line[column]) for line in lines)
        table.add_column(name, justify="right" if is_figure else "left", overflow="fold")
    for line in lines:
        table.add_row(*(_cell(value) for value in line))
    Console().print(table)


def _is_figure(value: object) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and value.endswith("%"))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"


class ProgressLine:
    """One line that is written over; silent unless stderr is a terminal."""

    def __init__(self, is_watched: bool) -> None:
        self._is_watched = is_watched

    def show(self, text: str) -> None:
        if self._is_watched:
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """A line on stderr that is gone afterwards."""
    line = ProgressLine(sys.stderr.isatty())
    try:
        yield line
    finally:
        line.show("")
