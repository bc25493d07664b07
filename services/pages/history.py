"""What every placement version changed, in the running system's own names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.core.deployment import DeployedGroup, Deployment
from services.core.difference import difference


@dataclass(frozen=True, slots=True)
class ModelChange:
    """The groups on which a model came and went."""

    model: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version beside the settled one before it; `is_settled` is false of a transition's steps."""

    version: int
    created: str
    policy: str
    is_settled: bool
    num_groups: int
    num_replicas: int
    num_kept: int
    formed: tuple[str, ...]
    dissolved: tuple[str, ...]
    models: tuple[ModelChange, ...]


def instant(at_s: float) -> str:
    """A time of the clock, in words."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%d %b %Y, %H:%M:%S UTC")


def version_rows(deployments: Sequence[Deployment]) -> list[VersionRow]:
    """Rows of versions, the newest first as they are given. The oldest is only compared with."""
    rows = []
    for index, after in enumerate(deployments[:-1]):
        before = next((one for one in deployments[index + 1 :] if one.is_settled), deployments[-1])
        rows.append(_row(before, after))
    return rows


def _row(before: Deployment, after: Deployment) -> VersionRow:
    row = VersionRow(
        version=after.version,
        created=instant(after.created_at_s),
        policy=after.policy,
        is_settled=after.is_settled,
        num_groups=len(after.groups),
        num_replicas=sum(len(group.replicas) for group in after.groups),
        num_kept=0,
        formed=(),
        dissolved=(),
        models=(),
    )
    if not (after.is_settled and before.is_settled):
        return row
    changed = difference(before.placement(), after.placement())
    formed = {(group.config, group.devices) for group in changed.formed}
    dissolved = {(group.config, group.devices) for group in changed.dissolved}
    return VersionRow(
        row.version,
        row.created,
        row.policy,
        row.is_settled,
        row.num_groups,
        row.num_replicas,
        num_kept=len(changed.kept),
        formed=tuple(_named(group) for group in after.groups if group.shape in formed),
        dissolved=tuple(_named(group) for group in before.groups if group.shape in dissolved),
        models=tuple(
            ModelChange(
                model,
                tuple(after.groups[index].name for index in change.added),
                tuple(before.groups[index].name for index in change.removed),
            )
            for model, change in changed.replicas.items()
        ),
    )


def _named(group: DeployedGroup) -> str:
    return f"{group.name} ({group.config} on {', '.join(map(str, group.devices))})"
