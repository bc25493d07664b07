"""The Ray of a host as a process of its own: a worker that dies finds it again, and need not wait until it starts."""

import os
import signal

import structlog

from services.infra.logs import configure_logs
from services.infra.ray_cluster import LOCAL, join_cluster, leave_cluster
from services.infra.settings import load_settings
from services.worker.settings import WorkerSettings

log = structlog.get_logger()


def main() -> None:
    settings = load_settings(WorkerSettings, "The Ray of this host, at ALPASERVE_PORT; what it runs ends with it.")
    configure_logs("ray", settings.log_level)
    os.environ["RAY_GCS_SERVER_PORT"] = str(settings.port)
    join_cluster(LOCAL, settings.ray_object_store_bytes)
    try:
        log.info("serving", address=f"127.0.0.1:{settings.port}")
        signal.pause()
    finally:
        leave_cluster()


if __name__ == "__main__":
    main()
