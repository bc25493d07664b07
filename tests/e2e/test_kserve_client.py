"""KServe's own client, unchanged, against the running system: it infers, loads and unloads."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-kserve" / "bin" / "python"


@pytest.mark.slow
def test_a_session_of_kserves_client(cluster: Cluster) -> None:
    assert PYTHON.exists(), "make .venv-kserve/installed makes KServe's environment"
    command = [str(PYTHON), str(ROOT / "tests/kserve/session.py"), cluster.routers[0].address]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PATH": ""}, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told.pop("group") in {group.name for group in cluster.placement().groups}
    assert told == {
        "live": True,
        "ready": True,
        "models": {"quick": True, "idle": False, "stranger": False},
        "raw": dict.fromkeys(("FP32", "FP16", "INT64", "BOOL", "UINT8", "BYTES"), True),
        "typed": {"ints": [3, -4], "floats": [0.25]},
        "texts": ["Zoë"],
        "ids": ["raw", "typed"],
        "hasty": "RESOURCE_EXHAUSTED",
        "stranger": "NOT_FOUND",
        "platform": "alpaserve",
        "changes": ["idle", True, True, True, False],
    }
