"""The door of a process of leaders: at the same port as before, and never at one that another process serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.worker.leader.process import LeaderProcess
from services.worker.settings import WorkerSettings


@asynccontextmanager
async def opened(redis_url: str, port: int = 0) -> AsyncIterator[str]:
    """A process of leaders that routers reach; its address."""
    process = LeaderProcess(WorkerSettings(redis_url=redis_url, executor="emulated"))
    address = await process.open(port)
    serving = asyncio.create_task(process.serve())
    try:
        yield address
    finally:
        await process.stop()
        await serving


async def test_a_port_that_another_process_serves_is_refused(redis_url: str) -> None:
    async with opened(redis_url) as address:
        with pytest.raises(OSError, match="address already in use"):
            await LeaderProcess(WorkerSettings(redis_url=redis_url)).open(port_of(address))


async def test_the_port_of_a_process_that_ended_can_be_opened_again(redis_url: str) -> None:
    async with opened(redis_url) as first:
        pass
    async with opened(redis_url, port_of(first)) as second:
        assert second == first


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_compiled_programs_are_kept_under_the_home_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = WorkerSettings(redis_url="redis://nowhere")
    told = [settings.model_copy(update={"cache_dir": given}).compiled_dir for given in ("~/c", "/c", "")]
    assert settings.compiled_dir == str(tmp_path / ".cache/alpaserve/compiled")
    assert told == [str(tmp_path / "c"), "/c", ""]
