"""Every key and channel in Redis."""

CURRENT_VERSION = "alpaserve:placement:version"
CURRENT_DEPLOYMENT = "alpaserve:placement:current"
PLACEMENT_FEED = "alpaserve:placement:feed"
GROUP_COUNTER = "alpaserve:group:counter"
TRANSITION_LEASE = "alpaserve:placement:lease"
TRANSITION = "alpaserve:transition"
TRANSITION_FEED = "alpaserve:transition:feed"
TRANSITION_COUNTER = "alpaserve:transition:counter"
STEP_COSTS = "alpaserve:transition:costs"
MODELS = "alpaserve:models"
PROFILES = "alpaserve:profiles"
SIGNATURES = "alpaserve:signatures"
WORKERS = "alpaserve:workers"
DEVICE_COUNTER = "alpaserve:device:counter"
DEVICE_BASES = "alpaserve:device:bases"
ARRIVALS = "alpaserve:arrivals:"
ARRIVAL_SUMS = "alpaserve:arrival-sums:"
ACTIVITY = "alpaserve:activity:"
DECISIONS = "alpaserve:decisions"
REPLACEMENT_MEMORY = "alpaserve:decisions:memory"
QUEUE_FEED = "alpaserve:queue:feed"


def deployment(version: int) -> str:
    return f"alpaserve:placement:{version}"


def worker(name: str) -> str:
    return f"alpaserve:worker:{name}"


PLANNER = "alpaserve:planner"


def router(name: str) -> str:
    return f"alpaserve:router:{name}"


ROUTERS = router("*")


def queue_state(group: str) -> str:
    return f"alpaserve:queue:{group}"


def arrivals(second: int) -> str:
    return f"{ARRIVALS}{second}"


def arrival_sums(begin_s: int) -> str:
    return f"{ARRIVAL_SUMS}{begin_s}"


def activity(second: int) -> str:
    return f"{ACTIVITY}{second}"


def measurements(fingerprint: str) -> str:
    return f"alpaserve:measurements:{fingerprint}"
