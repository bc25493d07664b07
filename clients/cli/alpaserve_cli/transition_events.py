"""What happened between two looks at a transition, as documents."""

from collections.abc import Iterator
from typing import Any

from alpaserve.v1 import planner_pb2

from alpaserve_cli.placements import down_document, ranges
from alpaserve_cli.wire import enum_name

Transition = planner_pb2.Transition
Document = dict[str, Any]


def events(before: Transition | None, after: Transition) -> Iterator[Document]:
    """Steps that began or ended, models that went down or came back, and the transition's own begin and end."""
    is_new = before is None or before.number != after.number
    known = Transition() if is_new or before is None else before
    if is_new:
        yield began_document(after)
    for index, step in enumerate(after.steps):
        earlier = known.steps[index] if index < len(known.steps) else planner_pb2.TransitionStep()
        if step.HasField("begin_s") and not earlier.HasField("begin_s"):
            yield {"event": "step_began", "at_s": step.begin_s} | step_document(step)
        if step.HasField("end_s") and not earlier.HasField("end_s"):
            yield {"event": "step_ended", "at_s": step.end_s} | step_document(step)
    yield from _models(known, after)
    if is_over(after) and (is_new or not is_over(known)):
        yield ended_document(after)


def is_over(transition: Transition) -> bool:
    return transition.state != planner_pb2.TRANSITION_STATE_RUNNING


def began_document(transition: Transition) -> Document:
    return {
        "event": "transition_began",
        "transition": transition.number,
        "policy": transition.policy,
        "began_at": transition.began_at.ToJsonString(),
        "num_steps": len(transition.steps),
        "predicted_s": transition.predicted_s,
        "predicted_down": list(map(down_document, transition.predicted_down)),
    }


def ended_document(transition: Transition) -> Document:
    return {
        "event": "transition_ended",
        "transition": transition.number,
        "state": state_name(transition),
        "placement_version": transition.placement_version,
        "predicted_s": transition.predicted_s,
        "transition_s": transition.transition_s if transition.HasField("transition_s") else None,
        "down": list(map(down_document, transition.down)),
        "error": transition.error or None,
    }


def state_name(transition: Transition) -> str:
    return enum_name(planner_pb2.TransitionState, transition.state)


def kind_name(step: planner_pb2.TransitionStep) -> str:
    return enum_name(planner_pb2.StepKind, step.kind)


def group_name(step: planner_pb2.TransitionStep) -> str:
    """The group of a step as people tell it from others; empty for a switch."""
    if not step.devices:
        return ""
    shape = f"{step.config.inter_op}x{step.config.intra_op} on {ranges(step.devices)}"
    return f"{step.group} {shape}" if step.group else shape


def step_document(step: planner_pb2.TransitionStep) -> Document:
    return {
        "kind": kind_name(step),
        "phase": step.phase,
        "group": step.group or None,
        "devices": list(step.devices),
        "model": step.model or None,
        "num_bytes": step.num_bytes,
        "predicted_begin_s": step.predicted_begin_s,
        "predicted_end_s": step.predicted_end_s,
    }


def _models(known: Transition, after: Transition) -> Iterator[Document]:
    """A window that lasts is listed without its end."""
    earlier = {(down.model, down.begin_s): down.HasField("end_s") for down in known.down}
    for down in after.down:
        seen = (down.model, down.begin_s)
        if seen not in earlier:
            yield {"event": "model_down", "at_s": down.begin_s, "model": down.model}
        if down.HasField("end_s") and not earlier.get(seen, False):
            yield {"event": "model_back", "at_s": down.end_s, "model": down.model}
