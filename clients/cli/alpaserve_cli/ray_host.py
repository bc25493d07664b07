"""The Ray of a worker as a service of its own: a worker that dies comes back without waiting for Ray to start."""

import secrets
from dataclasses import replace

from alpaserve_cli.addresses import free_port
from alpaserve_cli.supervisor import Member


def with_ray(worker: Member) -> tuple[Member, Member]:
    """A member that runs a Ray, at a free port and behind a token of its own, and the worker as it joins it."""
    port = free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    runs = {**worker.env, **token, "ALPASERVE_PORT": str(port)}
    joins = {**worker.env, **token, "ALPASERVE_RAY_ADDRESS": f"127.0.0.1:{port}"}
    return Member(f"{worker.name}-ray", "services.worker.ray_host", runs), replace(worker, env=joins)
