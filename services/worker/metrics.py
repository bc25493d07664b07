"""What a worker tells Prometheus of its groups and devices: their leaders' own counts, as of the last heartbeat."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.infra.meters import histogram
from services.worker.actors import HostedGroup
from services.worker.groups import HostedGroups
from services.worker.leader.tally import GroupTally
from services.worker.settings import WorkerSettings


class HostMetrics(Collector):
    """The groups that run here now; those that are gone take their labels with them."""

    def __init__(self, groups: HostedGroups, settings: WorkerSettings, first_device: int) -> None:
        self._groups = groups
        self._settings = settings
        self._first_device = first_device

    def collect(self) -> Iterator[Metric]:
        """Called from the thread that Prometheus is answered in."""
        groups = self._groups.all()
        tallies = [tally for group in groups if (tally := group.tally) is not None]
        yield from self._devices()
        yield from self._memory(groups)
        yield from self._queues(tallies)
        yield busy_time(tallies)
        yield self._restarts()

    def _devices(self) -> Iterator[Metric]:
        used = GaugeMetricFamily(
            "alpaserve_device_weights_bytes", "Bytes of weights that a device holds.", labels=["device"]
        )
        limit = GaugeMetricFamily(
            "alpaserve_device_memory_bytes", "Bytes that a device offers to weights.", labels=["device"]
        )
        for local, num_bytes in enumerate(self._groups.used_bytes()):
            device = str(self._first_device + local)
            used.add_metric([device], num_bytes)
            limit.add_metric([device], self._settings.memory_bytes)
        yield from (used, limit)

    def _memory(self, groups: Sequence[HostedGroup]) -> Iterator[Metric]:
        up = GaugeMetricFamily("alpaserve_group_up", "Whether a group's leader answers its worker.", labels=["group"])
        replicas = GaugeMetricFamily("alpaserve_group_replicas", "Models that a group holds.", labels=["group"])
        held = GaugeMetricFamily(
            "alpaserve_group_weights_bytes", "Bytes of weights on all devices of a group.", labels=["group"]
        )
        for group in groups:
            up.add_metric([group.name], float(group.tally is not None))
            replicas.add_metric([group.name], len(group.replicas))
            num_bytes = sum(replica.heaviest_stage_bytes for replica in list(group.replicas.values()))
            held.add_metric([group.name], num_bytes * group.config.num_devices)
        yield from (up, replicas, held)

    def _queues(self, tallies: Sequence[GroupTally]) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "alpaserve_queue_length", "Requests that a group admitted and has not begun.", labels=["group"]
        )
        in_flight = GaugeMetricFamily(
            "alpaserve_group_in_flight", "Requests that a group admitted and has not finished.", labels=["group"]
        )
        limit = GaugeMetricFamily("alpaserve_group_in_flight_limit", "Requests that a group holds at most.")
        limit.add_metric([], self._settings.queue_limit)
        for tally in tallies:
            waiting.add_metric([tally.group], tally.num_waiting)
            in_flight.add_metric([tally.group], tally.num_in_flight)
        yield from (waiting, in_flight, limit)
        yield histogram(
            "alpaserve_queue_time_seconds",
            "What answered requests waited of their time in a group.",
            "group",
            {tally.group: tally.queue_time_s for tally in tallies},
        )

    def _restarts(self) -> Metric:
        family = CounterMetricFamily(
            "alpaserve_leader_restarts", "Leaders' processes that ended unasked, by what came of it.", labels=["result"]
        )
        for result, count in self._groups.num_restarts.items():
            family.add_metric([result], count)
        return family


def busy_time(tallies: Sequence[GroupTally]) -> Metric:
    family = CounterMetricFamily(
        "alpaserve_stage_busy_seconds", "Time that a stage ran batches.", labels=["group", "stage"]
    )
    for tally in tallies:
        for stage, busy_s in enumerate(tally.busy_s):
            family.add_metric([tally.group, str(stage)], busy_s)
    return family
