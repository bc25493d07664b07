"""alpaserve-profiler: measures models."""

import uvloop
from alpaserve.v1 import profiler_pb2, profiler_pb2_grpc

from services.infra.background import background
from services.infra.logs import configure_logs
from services.infra.server import Server, stop_signal
from services.infra.settings import load_settings
from services.infra.store.connection import connect
from services.infra.store.measurements import MeasurementStore
from services.infra.store.pulse import feel_pulse
from services.infra.store.registry import ModelStore, ProfileStore
from services.profiler.measuring import Measuring
from services.profiler.servicer import ProfilerServicer
from services.profiler.settings import ProfilerSettings


async def serve(settings: ProfilerSettings) -> None:
    stopping = stop_signal()
    redis = connect(settings.store)
    profiles = ProfileStore(redis)
    measuring = Measuring(settings, profiles, MeasurementStore(redis))
    servicer = ProfilerServicer(measuring, ModelStore(redis), profiles, settings.models_dir)
    server = Server(settings, "profiler")
    server.add(servicer, profiler_pb2_grpc.add_ProfilerServicer_to_server, profiler_pb2.DESCRIPTOR, "Profiler")
    await server.start()
    async with background(feel_pulse(redis)):
        await stopping.wait()
        await server.drain()
    await server.stop()
    await redis.aclose()


def main() -> None:
    settings = load_settings(ProfilerSettings, "alpaserve-profiler: measures models under parallel configs.")
    configure_logs("profiler", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
