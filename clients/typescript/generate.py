"""Generate src/gen: the messages and stubs of the services that clients call, with ts-proto from node_modules.

Usage: python clients/typescript/generate.py [OUT]
"""

import sys
from pathlib import Path

import google.rpc
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parents[1] / "protos"
GOOGLE = Path(next(iter(google.rpc.__path__))).parents[1]
SOURCES = (
    *(f"alpaserve/v1/{name}.proto" for name in ("router", "planner", "profiler")),
    *(f"google/rpc/{name}.proto" for name in ("status", "error_details")),
)
OPTIONS = {
    "annotateFilesWithVersion": "false",
    "env": "node",
    "esModuleInterop": "true",
    "exportCommonSymbols": "false",
    "forceLong": "number",
    "importSuffix": ".js",
    "oneof": "unions-value",
    "outputJsonMethods": "false",
    "outputServices": "grpc-js",
    "unrecognizedEnum": "false",
    "removeEnumPrefix": "true",
    "enumsAsLiterals": "true",
    "useExactTypes": "false",
}


def generate(out: Path) -> None:
    """Write the generated code under `out`, with everything that it imports. Raises: SystemExit with protoc's code."""
    out.mkdir(parents=True, exist_ok=True)
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(
        [
            "protoc",
            *(f"-I{directory}" for directory in (PROTOS, GOOGLE, well_known)),
            f"--plugin=protoc-gen-ts_proto={HERE / 'node_modules/.bin/protoc-gen-ts_proto'}",
            f"--ts_proto_out={out}",
            "--ts_proto_opt=" + ",".join(f"{name}={value}" for name, value in OPTIONS.items()),
            *SOURCES,
        ]
    )
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src/gen")
