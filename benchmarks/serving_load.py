"""A closed loop of one request over gRPC: h2load, which takes a tenth of the time of any of the servers that it loads.

h2load counts an error of gRPC as a success, but an error brings no message: the bytes that came tell.
"""

import re
import resource
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from alpaserve.v1 import router_pb2
from alpaserve_client.tensors import encode_tensor

MODEL = "echo"
CONTENT_BYTES = 1024
WARM_UP_S = 0.3
INFER = "/alpaserve.v1.Router/Infer"
# In flight: connections, and calls on each.
CONNECTIONS = {1: (1, 1), 16: (4, 4), 64: (8, 8)}
_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


class NoLoadGenerator(Exception):
    """h2load is not on this machine."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One closed loop against one server."""

    requests_per_s: float
    median_s: float
    generator_s_per_request: float


def request() -> router_pb2.InferRequest:
    """One tensor of a kilobyte."""
    content = np.arange(CONTENT_BYTES) % 251
    return router_pb2.InferRequest(model=MODEL, inputs={"x": encode_tensor(content.astype(np.uint8))})


def h2load() -> str:
    """Raises: NoLoadGenerator."""
    found = shutil.which("h2load")
    if found is None:
        raise NoLoadGenerator("h2load is not on this machine: apt-get install nghttp2-client")
    return found


def closed_loop(address: str, num_in_flight: int, seconds: float) -> Measured:
    """Send as soon as an answer is there. Raises: RuntimeError if an answer lacks its outputs."""
    connections, streams = CONNECTIONS[num_in_flight]
    message = request().SerializeToString()
    with tempfile.TemporaryDirectory() as directory:
        body, log = Path(directory) / "body", Path(directory) / "log"
        body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        command = [
            h2load(),
            f"-c{connections}",
            f"-m{streams}",
            "-t1",
            f"-D{round(1000 * seconds)}ms",
            f"--warm-up-time={round(1000 * WARM_UP_S)}ms",
        ]
        began_s = generator_s()
        ran = subprocess.run(
            [*command, "-d", body, "--log-file", log, *_HEADERS, f"http://{address}{INFER}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60 + 2 * seconds,
        )
        took_s = generator_s() - began_s
        latencies_us = [float(line.split("\t")[2]) for line in log.read_text().splitlines()]
    num_done, num_bytes = told(ran.stdout)
    if num_bytes < num_done * CONTENT_BYTES:
        raise RuntimeError(f"{num_done} answers of {address} brought {num_bytes} bytes: not all were served")
    # The generator's own time includes the warm-up.
    share = seconds / (seconds + WARM_UP_S)
    return Measured(num_done / seconds, 1e-6 * float(np.median(latencies_us)), share * took_s / num_done)


def told(report: str) -> tuple[int, int]:
    """Answers and bytes of messages. Raises: RuntimeError if a request failed."""
    requests = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", report)
    traffic = re.search(r"\((\d+)\) data", report)
    if requests is None or traffic is None:
        raise RuntimeError(f"h2load said\n{report}")
    done, succeeded, failed, errored, timed_out = map(int, requests.groups())
    if done == 0 or succeeded != done or failed + errored + timed_out:
        raise RuntimeError(f"h2load said\n{report}")
    return done, int(traffic[1])


def generator_s() -> float:
    """Processor seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
