"""What models take and give, told by the leaders that load them."""

import structlog
from pydantic import TypeAdapter
from redis.asyncio import Redis

from services.core.signature import Signature
from services.infra.store import keys

log = structlog.get_logger()
_signature = TypeAdapter(Signature)


class SignatureStore:
    """Signatures by model; of emulated devices there are none."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def all(self) -> dict[str, Signature]:
        """Those that can be read: what another version wrote, this one may not know."""
        stored = await self._redis.hgetall(keys.SIGNATURES)
        found: dict[str, Signature] = {}
        for name, document in stored.items():
            try:
                model = name.decode() if isinstance(name, bytes) else name
                found[model] = _signature.validate_json(document)
            except ValueError as error:
                log.warning("signature_not_read", model=repr(name), error=str(error))
        return found

    async def put(self, model: str, signature: Signature) -> None:
        await self._redis.hset(keys.SIGNATURES, model, _signature.dump_json(signature))
