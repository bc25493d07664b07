"""The committed code is what the contract says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path}

    subprocess.run(
        [sys.executable, str(ROOT / "protos" / "generate.py"), str(tmp_path)],
        env=environment,
        check=True,
        capture_output=True,
    )

    made, committed = (
        {path.relative_to(root): path.read_bytes() for path in root.glob("alpaserve/**/*.py*") if path.suffix != ".pyc"}
        for root in (tmp_path, ROOT / "protos" / "gen")
    )
    assert made
    assert committed == made
