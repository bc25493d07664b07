"""The running system as one screen: models with what they attain, groups with their devices, stages and queues."""

from collections.abc import Sequence

from alpaserve.v1 import planner_pb2
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from alpaserve_cli.placements import ranges
from alpaserve_cli.status import attainment_of

_BARS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH, _MOST_BARS = 10, 8
# Of the screen, beside the rows of the tables.
_FRAME_LINES = 9
_FEWEST_ROWS = 4
# Of the width, beside the models of a group.
_OTHER_COLUMNS, _FEWEST_COLUMNS = 66, 10
_NOTHING = "–"

Status = planner_pb2.GetStatusResponse


def picture(found: Status, trouble: str, num_lines: int, num_columns: int) -> Lines:
    """What is shown on a screen of that size; `trouble` is why it may be old, if it may."""
    num_rows = max(2 * _FEWEST_ROWS, num_lines - _FRAME_LINES)
    num_model_rows = min(len(found.models), max(_FEWEST_ROWS, num_rows - max(len(found.groups), _FEWEST_ROWS)))
    lines: list[RenderableType] = [heading(found)]
    if trouble:
        lines.append(Text(trouble, style="red"))
    lines += warnings(found)
    lines += [Text(""), models_table(found.models, num_model_rows)]
    num_group_rows = max(_FEWEST_ROWS, num_rows - num_model_rows)
    lines += [Text(""), groups_table(found.groups, num_group_rows, max(_FEWEST_COLUMNS, num_columns - _OTHER_COLUMNS))]
    return Lines(*lines)


def heading(found: Status) -> Text:
    rate = sum(model.rate_per_s for model in found.models)
    return Text.assemble(
        (f"Placement {found.placement_version}", "bold"),
        f"  {counted(len(found.routers), 'router')}, {counted(len(found.workers), 'worker')}, "
        f"{rate:.3g} requests/s, attained ",
        attainment_text(overall(found.models)),
        ("  q quits", "dim"),
    )


def warnings(found: Status) -> list[Text]:
    """Who is behind, and who is silent."""
    behind = [router for router in found.routers if router.placement_version != found.placement_version]
    silent = [group.group.name for group in found.groups if not group.is_alive]
    lines = [Text(f"router {router.name} serves placement {router.placement_version}", "red") for router in behind]
    if silent:
        lines.append(Text(f"silent: {' '.join(silent)}", "red"))
    if not found.routers:
        lines.append(Text("no router is alive", "red"))
    return lines


def models_table(models: Sequence[planner_pb2.ModelStatus], num_rows: int) -> Table:
    """Those that miss most first, where there is no room for all."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("model, last minute", overflow="ellipsis", no_wrap=True, ratio=1)
    for name in ("requests/s", "met", "missed", "attained"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR_WIDTH)
    shown = models if len(models) <= num_rows else sorted(models, key=lambda model: -model.num_missed)[: num_rows - 1]
    for model in shown:
        share = attainment_of(model)
        attained, bar = attainment_text(share), Text(bar_of(share), style=colour(share))
        table.add_row(model.name, f"{model.rate_per_s:.3g}", str(model.num_met), str(model.num_missed), attained, bar)
    if len(shown) < len(models):
        table.add_row(Text(f"… {len(models) - len(shown)} more, with no more misses", style="dim"))
    return table


def groups_table(groups: Sequence[planner_pb2.GroupStatus], num_rows: int, models_width: int) -> Table:
    """The busiest first, where there is no room for all."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("group", no_wrap=True)
    table.add_column("config", no_wrap=True)
    table.add_column("devices", overflow="ellipsis", no_wrap=True, max_width=9)
    table.add_column("in flight", justify="right", no_wrap=True)
    table.add_column("free s", justify="right", no_wrap=True)
    table.add_column("busy by stage", overflow="ellipsis", no_wrap=True, max_width=14)
    table.add_column("models", overflow="ellipsis", no_wrap=True, max_width=models_width)
    shown = groups if len(groups) <= num_rows else sorted(groups, key=busiest, reverse=True)[: num_rows - 1]
    for status in shown:
        group = status.group
        table.add_row(
            group.name,
            f"{group.config.inter_op}x{group.config.intra_op}",
            ranges(group.devices),
            str(status.num_in_flight) if status.is_alive else Text("silent", style="red"),
            f"{status.free_in_s:.3g}" if status.is_alive else _NOTHING,
            busy_text(status.stage_busy_share),
            " ".join(group.models),
        )
    if len(shown) < len(groups):
        table.add_row("…", Text(f"{len(groups) - len(shown)}", style="dim"), Text("more", style="dim"))
    return table


def busiest(status: planner_pb2.GroupStatus) -> float:
    return max(status.stage_busy_share, default=0.0)


def busy_text(shares: Sequence[float]) -> Text:
    """A bar for each stage, and the share of the busiest."""
    if not shares:
        return Text(_NOTHING)
    bars = "".join(_BARS[min(len(_BARS) - 1, int(share * len(_BARS)))] for share in shares[:_MOST_BARS])
    return Text(f"{max(shares):4.0%} {bars}{'…' if len(shares) > _MOST_BARS else ''}")


def overall(models: Sequence[planner_pb2.ModelStatus]) -> float | None:
    """Of all together; None if nothing ended."""
    num_met = sum(model.num_met for model in models)
    num_ended = num_met + sum(model.num_missed for model in models)
    return num_met / num_ended if num_ended else None


def attainment_text(share: float | None) -> Text:
    return Text(_NOTHING if share is None else f"{100 * share:.1f} %", style=colour(share))


def bar_of(share: float | None) -> str:
    return "" if share is None else "█" * round(share * _BAR_WIDTH)


def colour(share: float | None) -> str:
    if share is None:
        return "dim"
    return "green" if share >= 0.99 else "yellow" if share >= 0.95 else "red"


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
