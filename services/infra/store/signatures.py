"""What models take and give, told by the leaders that load them."""

from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.core.signature import Signature
from services.infra.store import keys

_signature = TypeAdapter(Signature)


class SignatureStore:
    """Signatures by model; of emulated devices there are none."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def all(self) -> dict[str, Signature]:
        stored = await self._redis.hgetall(keys.SIGNATURES)
        return {
            name.decode(): _signature.validate_json(document)
            for name, document in stored.items()
            if isinstance(name, bytes)
        }

    async def put(self, model: str, signature: Signature) -> None:
        await self._redis.hset(keys.SIGNATURES, model, _signature.dump_json(signature))
