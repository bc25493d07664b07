"""One decision: is there a reason to look, what could run instead, and is switching to it worth what it costs."""

from collections.abc import Sequence
from dataclasses import replace

from services.core.placement import Placement
from services.core.workload import Workload
from services.planner.controllers.candidates import candidates
from services.planner.controllers.controllers import Controller
from services.planner.controllers.decision import (
    Decision,
    Move,
    Prospect,
    Running,
    TrafficSummary,
    Verdict,
    replicas_of,
)
from services.planner.controllers.judging import Bench
from services.planner.controllers.observation import Observation
from services.planner.controllers.setting import Effort, Prudence, Setting

_DEFAULT_EFFORT = Effort()
# Fewer requests than this say nothing that could be planned for.
_FEWEST_REQUESTS = 20
# A decision whose time is over is judged on these alone; of fewer there is no error of the gain.
_FEWEST_DRAWS = 2


def decide(
    setting: Setting,
    controller: Controller,
    observation: Observation,
    running: Running,
    effort: Effort = _DEFAULT_EFFORT,
) -> Decision:
    """Whether to go over to another placement now; changes nothing, and the same again for the same seed.

    Raises: InvalidWorkload and its like where observation, spec and running placement do not belong together.
    """
    traffic = TrafficSummary(observation.names, observation.recent.rates_per_s)
    idle = Decision(observation.now_s, controller.name, Verdict.NOT_DUE, "", traffic)
    reason = controller.trigger(observation, running)
    if reason is None:
        return idle
    prudence = setting.prudence
    if prudence is not None and running.switches and observation.now_s - running.since_s < prudence.rest_s:
        return replace(idle, verdict=Verdict.RESTING, reason=f"{reason}; switched less than {prudence.rest_s:g} s ago")
    outlook = controller.outlook(observation, setting.horizon_s)
    until_s = effort.judged_s(float(outlook.rates_per_s.sum()), setting.horizon_s)
    if until_s < setting.horizon_s:
        reason = f"{reason}; so much is asked for that {until_s:.3g} of {setting.horizon_s:g} s are judged"
        setting = replace(setting, horizon_s=until_s)
    draws = outlook.draws(2 * effort.num_samples, effort.seed, until_s)
    if min(len(own) for own in draws) < _FEWEST_REQUESTS:
        return replace(idle, verdict=Verdict.TOO_LITTLE_TRAFFIC, reason=reason)
    seen = replace(
        idle,
        reason=reason,
        traffic=replace(traffic, expected_per_s=outlook.rates_per_s),
        assumed=controller.assumed(observation, outlook),
    )
    return _considered(setting, seen, running, draws, effort)


def _considered(
    setting: Setting, seen: Decision, running: Running, draws: Sequence[Workload], effort: Effort
) -> Decision:
    """The decision, once there is traffic to plan for: every other draw judges what the rest was planned for."""
    found, num_simulations = candidates(setting, running.placement, draws[::2], effort)
    if not found:
        return replace(seen, verdict=Verdict.NOTHING_BETTER, num_simulations=num_simulations)
    judging = draws[1::2] or draws
    bench = Bench(setting, running.placement, judging[:_FEWEST_DRAWS] if effort.is_time_over else judging)
    attained = [bench.paid(own) for own in found]
    # Without prudence there is no choice: the fresh plan comes first.
    best = 0 if setting.prudence is None else max(range(len(found)), key=lambda index: int(attained[index].sum()))
    prospect = bench.prospect(found[best], attained[best])
    considered = replace(
        seen,
        candidate=found[best],
        move=Move.between(running.placement, found[best], setting.spec, setting.profiles),
        prospect=prospect,
        num_simulations=num_simulations + bench.num_simulations,
    )
    if setting.prudence is None:
        return replace(considered, verdict=Verdict.SWITCH)
    return _judged(setting.prudence, running, considered, found[best], prospect)


def _judged(
    prudence: Prudence, running: Running, considered: Decision, candidate: Placement, prospect: Prospect
) -> Decision:
    """Whether the gain exceeds what it must."""
    margin = prudence.margin + prudence.num_errors * prospect.standard_error
    to_go_back = margin + _debt(prudence, running, candidate, considered.at_s)
    if prospect.gain > to_go_back:
        verdict = Verdict.SWITCH
    else:
        verdict = Verdict.WOULD_FLIP_BACK if prospect.gain > margin else Verdict.GAIN_TOO_SMALL
    return replace(considered, verdict=verdict, margin=to_go_back)


def _debt(prudence: Prudence, running: Running, candidate: Placement, now_s: float) -> float:
    """What going to the candidate must gain besides, for what it takes back of switches of late."""
    before, after = replicas_of(running.placement), replicas_of(candidate)
    return prudence.hysteresis * sum(
        max(switch.gain, prudence.margin) * switch.share_undone(before, after)
        for switch in running.switches
        if now_s - switch.at_s < prudence.memory_s
    )
