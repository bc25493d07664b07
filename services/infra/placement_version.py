"""The gauge of the processes that know which placement runs; a process that imports it exports it."""

from prometheus_client import Gauge

PLACEMENT_VERSION = Gauge(
    "alpaserve_placement_version", "The placement version that a router serves under, or that a planner knows to run."
)
