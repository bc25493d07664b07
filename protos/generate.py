"""Generate protos/gen from protos/alpaserve: messages, gRPC stubs and their type stubs.

Usage: python protos/generate.py [OUT]
"""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent


def generate(out: Path) -> None:
    """Write the generated code under `out`. Raises: SystemExit with protoc's code."""
    out.mkdir(parents=True, exist_ok=True)
    well_known = Path(protoc.__file__).parent / "_proto"
    sources = sorted(path.relative_to(ROOT) for path in ROOT.glob("alpaserve/**/*.proto"))
    flags = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    code = protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *flags, *map(str, sources)])
    if code:
        raise SystemExit(code)
    for package in {out / parent for source in sources for parent in source.parents if parent.name}:
        (package / "__init__.py").write_text("")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "gen")
