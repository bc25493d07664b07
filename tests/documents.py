"""What commands that stay print first."""

import json
import subprocess
from typing import Any


def read_document(process: subprocess.Popen[str]) -> Any:
    """The one document that `up` prints before it stays."""
    lines: list[str] = []
    while process.stdout is not None and "}\n" not in lines[-1:]:
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended before it served"
    return json.loads("".join(lines))
