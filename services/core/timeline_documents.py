"""Timelines as documents: a placement (alpaserve.placement/v1) whose `windows` replace its groups in turn."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.core.documents import parse_placement, placement_document
from services.core.errors import AlpaServeError, InvalidPlacement
from services.core.placement import DEFAULT_DISPATCH
from services.core.timeline import Timeline, Window


def has_windows(document: object) -> bool:
    """Whether a placement document describes more than its own groups."""
    return isinstance(document, Mapping) and bool(document.get("windows"))


def parse_timeline(document: Mapping[str, Any]) -> Timeline:
    """The windows of a placement document that has some, under its dispatch rule.

    Raises: InvalidPlacement naming the window and the value.
    """
    parse_placement(document)
    windows = document["windows"]
    if not isinstance(windows, Sequence) or isinstance(windows, str):
        raise InvalidPlacement(f"windows: expected a list, got {windows!r}")
    header = {"schema": document["schema"], "dispatch": document.get("dispatch", DEFAULT_DISPATCH)}
    return Timeline(tuple(_window(index, window, header) for index, window in enumerate(windows)))


def windows_document(windows: Sequence[Window]) -> list[dict[str, Any]]:
    """What `parse_timeline` reads from the key `windows`."""
    return [{"begin_s": window.begin_s, "groups": placement_document(window.placement)["groups"]} for window in windows]


def _window(index: int, window: object, header: Mapping[str, Any]) -> Window:
    begin_s = window.get("begin_s") if isinstance(window, Mapping) else None
    if not isinstance(window, Mapping) or isinstance(begin_s, bool) or not isinstance(begin_s, int | float):
        raise InvalidPlacement(f"windows[{index}]: expected begin_s and groups, got {window!r:.80}")
    try:
        placement = parse_placement({**header, "groups": window.get("groups")})
        return Window(float(begin_s), placement)
    except AlpaServeError as refusal:
        raise InvalidPlacement(f"windows[{index}]: {refusal}") from None
