"""The profiler's RPCs: parse, call, reply."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
from alpaserve.v1 import profiler_pb2, profiler_pb2_grpc

from services.core.alpa_table import parse_alpa_table
from services.core.errors import InvalidArgument, InvalidProfile, StillPlaced
from services.core.model import RegisteredModel
from services.core.profile import ModelProfile, Profiles
from services.core.profile_documents import parse_profiles
from services.infra.security.paths import located
from services.infra.store.registry import ModelStore, ProfileStore
from services.infra.wire import (
    config_message,
    model_profile_message,
    profiles_message,
    stage_profile_message,
    to_config,
)
from services.profiler.measuring import Event, Measuring
from services.profiler.order import Order
from services.profiler.session import Pruned

Context = grpc.aio.ServicerContext[Any, Any]


class ProfilerServicer(profiler_pb2_grpc.ProfilerServicer):
    """Measures models and keeps the results."""

    def __init__(
        self, measuring: Measuring, models: ModelStore, profiles: ProfileStore, models_dir: Path | None = None
    ) -> None:
        self._measuring = measuring
        self._models = models
        self._profiles = profiles
        self._models_dir = models_dir

    async def Profile(
        self, request: profiler_pb2.ProfileRequest, context: Context
    ) -> AsyncIterator[profiler_pb2.ProfileResponse]:
        registered = await self._models.get(request.model)
        order = Order(
            model=await asyncio.to_thread(located, registered, self._models_dir),
            configs=tuple(to_config(config) for config in request.configs),
            batch_sizes=tuple(request.batch_sizes) or (1,),
            num_repeats=request.num_repeats,
            num_devices=request.num_devices,
            device_kind=request.device_kind,
            is_afresh=request.afresh,
        )
        async for event in self._measuring.profile(order):
            yield response(event)

    async def GetProfile(
        self, request: profiler_pb2.GetProfileRequest, context: Context
    ) -> profiler_pb2.GetProfileResponse:
        profiles = await self._profiles.get(request.name)
        return profiler_pb2.GetProfileResponse(profiles=profiles_message(profiles))

    async def ListProfiles(
        self, request: profiler_pb2.ListProfilesRequest, context: Context
    ) -> profiler_pb2.ListProfilesResponse:
        return profiler_pb2.ListProfilesResponse(names=await self._profiles.names())

    async def ImportProfile(
        self, request: profiler_pb2.ImportProfileRequest, context: Context
    ) -> profiler_pb2.ImportProfileResponse:
        profiles = read_profiles(request)
        await self._profiles.put(profiles)
        return profiler_pb2.ImportProfileResponse(names=sorted(profiles))

    async def RemoveProfile(
        self, request: profiler_pb2.RemoveProfileRequest, context: Context
    ) -> profiler_pb2.RemoveProfileResponse:
        models = await self._models.all()
        check_unused(request.name, models.values())
        await self._profiles.remove(request.name)
        return profiler_pb2.RemoveProfileResponse()


def check_unused(profile: str, models: Iterable[RegisteredModel]) -> None:
    """Raises: StillPlaced while a registered model costs by the profile."""
    users = [model.name for model in models if model.profile == profile]
    if users:
        raise StillPlaced(f"profile {profile!r} is still that of {', '.join(users)}")


def response(event: Event) -> profiler_pb2.ProfileResponse:
    if isinstance(event, ModelProfile):
        return profiler_pb2.ProfileResponse(profile=model_profile_message(event))
    if isinstance(event, Pruned):
        pruned = profiler_pb2.Pruned(config=config_message(event.config), reason=event.reason)
        return profiler_pb2.ProfileResponse(pruned=pruned)
    return profiler_pb2.ProfileResponse(measured=stage_profile_message(event))


def read_profiles(request: profiler_pb2.ImportProfileRequest) -> Profiles:
    """Raises: InvalidArgument, InvalidProfile, naming the offending value."""
    content = request.WhichOneof("content")
    if content is None:
        raise InvalidArgument("content is empty")
    if content == "alpa_tsv":
        return parse_alpa_table(read_text(request.alpa_tsv))
    try:
        document = json.loads(request.profiles_json)
    except (ValueError, RecursionError) as error:
        raise InvalidProfile(f"the profile is not JSON: {error}") from None
    return parse_profiles(document)


def read_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InvalidProfile(f"the table is not UTF-8 text: byte {content[error.start]:#04x}") from None
