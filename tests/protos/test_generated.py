"""The committed code is what the contract says."""

import filecmp
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

    comparison = filecmp.dircmp(
        tmp_path / "alpaserve" / "v1", ROOT / "protos" / "gen" / "alpaserve" / "v1", ["__pycache__"]
    )
    assert comparison.common_files
    assert (comparison.left_only, comparison.right_only, comparison.diff_files) == ([], [], [])
