"""Load testing: workloads sent to a running system as they would arrive, and what became of them.

`replay` is the library, `alpaserve replay` (`command`) its command.
"""

from alpaserve_cli.replay.options import Progress, ReplayOptions
from alpaserve_cli.replay.outcomes import Outcome, ReplayResult, summary
from alpaserve_cli.replay.sender import Replay, replay

__all__ = ["Outcome", "Progress", "Replay", "ReplayOptions", "ReplayResult", "replay", "summary"]
