"""Registered models and stored profiles."""

import json
from typing import Any

from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.core.errors import AlreadyExists, UnknownModel, UnknownProfile
from services.core.model import RegisteredModel
from services.core.profile import Profiles
from services.core.profile_documents import parse_profiles, profiles_document
from services.core.profile_sets import combined, only
from services.infra.store import keys
from services.infra.store.connection import OUTAGES

_model = TypeAdapter(RegisteredModel)


class ModelStore:
    """Models by name."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def all(self) -> dict[str, RegisteredModel]:
        stored = await self._redis.hgetall(keys.MODELS)
        models = [_model.validate_json(document) for document in stored.values()]
        return {model.name: model for model in sorted(models, key=lambda model: model.name)}

    async def get(self, name: str) -> RegisteredModel:
        """Raises: UnknownModel."""
        document = await self._redis.hget(keys.MODELS, name)
        if document is None:
            raise UnknownModel(f"no model {name!r} is registered")
        return _model.validate_json(document)

    async def is_registered(self, name: str) -> bool:
        """False while nobody can tell."""
        try:
            return bool(await self._redis.hexists(keys.MODELS, name))
        except OUTAGES:
            return False

    async def put(self, model: RegisteredModel) -> None:
        """Add a model or change its SLO. Raises: AlreadyExists if the name has another source."""
        if not await self._redis.hsetnx(keys.MODELS, model.name, _model.dump_json(model)):
            known = await self.get(model.name)
            if known.source != model.source:
                raise AlreadyExists(f"model {model.name!r} is registered with another source")
            await self._redis.hset(keys.MODELS, model.name, _model.dump_json(model))

    async def remove(self, name: str) -> None:
        """Raises: UnknownModel."""
        if not await self._redis.hdel(keys.MODELS, name):
            raise UnknownModel(f"no model {name!r} is registered")
        await self._redis.hdel(keys.SIGNATURES, name)


class ProfileStore:
    """Profiles by name, each with the overheads it was measured with."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def names(self) -> list[str]:
        return sorted(name.decode() for name in await self._redis.hkeys(keys.PROFILES) if isinstance(name, bytes))

    async def get(self, name: str) -> Profiles:
        """One model's profile. Raises: UnknownProfile."""
        document = await self._redis.hget(keys.PROFILES, name)
        if document is None:
            raise UnknownProfile(f"no profile {name!r} is stored")
        return parse_profiles(json.loads(document))

    async def put(self, profiles: Profiles) -> None:
        """Store every model of the set, all or none."""
        documents: dict[Any, Any] = {
            name: json.dumps(profiles_document(only(profiles, name)), allow_nan=False) for name in profiles
        }
        if documents:
            await self._redis.hset(keys.PROFILES, mapping=documents)

    async def remove(self, name: str) -> None:
        """Raises: UnknownProfile."""
        if not await self._redis.hdel(keys.PROFILES, name):
            raise UnknownProfile(f"no profile {name!r} is stored")

    async def combined(self, names: set[str]) -> Profiles:
        """The profiles that a plan needs, each model with its own overhead.

        Raises: UnknownProfile; InvalidProfile if their stage latency factors differ.
        """
        return combined([await self.get(name) for name in sorted(names)])
