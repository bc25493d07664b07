"""The embedded Redis: a real server, its data kept, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from alpaserve_cli.embedded_redis import EmbeddedRedis, RedisStartError

from tests.cli.process_table import has_ended_within, is_running

HOLDER = """
import sys, time
from pathlib import Path
from alpaserve_cli.embedded_redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")

    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"


def test_it_comes_back_from_a_crash_at_the_same_url(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url, pid = server.url, server.pid
        with redis.Redis.from_url(url) as client:
            client.set("key", "value")
        time.sleep(1.2)  # appendfsync everysec
        os.kill(pid, signal.SIGKILL)
        server.kill()

        assert server.start() == url
        with redis.Redis.from_url(url) as client:
            assert client.get("key") == b"value"


def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    pid = server.pid

    server.stop()

    assert not is_running(pid)
    assert server.has_exited


def test_nobody_without_the_password_gets_in(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        stranger = redis.Redis.from_url(server.url.partition("@")[2].join(("redis://", "")))
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_two_cannot_share_a_directory(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path), pytest.raises(RedisStartError, match="in use by another process"):
        EmbeddedRedis(tmp_path).start()


def test_it_dies_with_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        holder.kill()

    assert has_ended_within(pid, 5)
