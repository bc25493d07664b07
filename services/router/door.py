"""The way of a request into this router, by whichever protocol it comes: hold it, receive it, dispatch it, count it.

On the wire a call with one message is a stream of one. Taken as a stream, it can be refused before its message is
read, and a caller who never finishes sending holds nothing for ever.
"""

import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from time import monotonic
from typing import Any, TypeVar

import grpc

from services.core.errors import DeadlinePassed, InvalidArgument, InvalidInput
from services.infra.expiry import Expiries
from services.router.call import NO_CALL, Call, Reply, check_id
from services.router.dispatcher import Dispatcher
from services.router.holdings import Holdings
from services.router.trace import request_trace

Context = grpc.aio.ServicerContext[Any, Any]
ReadCalls = Callable[[bytes, float, float], Sequence[Call]]
"""The calls of a message, one for each of its examples, from the instant of its arrival and the one it expires at."""
AnswerT = TypeVar("AnswerT")


class Door:
    """One for all protocols: they share what a router holds at once."""

    def __init__(
        self, dispatcher: Dispatcher, holdings: Holdings, receive_timeout_s: float, max_message_bytes: int
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._dispatcher = dispatcher
        self._holdings = holdings
        self._receive_timeout_s = receive_timeout_s
        self._prefix = uuid.uuid4().hex[:16]
        self._numbers = count()
        self._expiries = Expiries()

    async def infer(
        self,
        context: Context,
        receive: Callable[[], Awaitable[bytes]],
        read: ReadCalls,
        write: Callable[[Sequence[Call], Sequence[Reply]], AnswerT],
    ) -> AnswerT:
        """Take a message by `receive`, understand it by `read`, have its calls served, and answer them by `write`. They
        share their fate: all are served, or none is answered.

        Raises: what the dispatcher raises; SloUnattainable if this router holds too much already.
        """
        calls: Sequence[Call] = (NO_CALL,)
        num_held, num_bytes, trace = 0, 0, request_trace()
        try:
            try:
                num_held += self._holdings.enter()
                content = await receive()
                num_bytes = self._holdings.take(len(content))
                arrival_s, left_s = monotonic(), context.time_remaining()
                calls = read(content, arrival_s, math.inf if left_s is None else arrival_s + left_s)
                del content
                num_held += self._holdings.join(len(calls) - 1)
                for call in calls:
                    self._check(call)
                if trace is not None:
                    trace.received(calls)
                replies = await self._served(calls)
            finally:
                self._holdings.leave(num_held, num_bytes)
            answer = write(calls, replies)
        except BaseException as error:
            for call in calls:
                outcome = self._dispatcher.requests.ended(call, error)
            if trace is not None:
                trace.ended(outcome)
            raise
        for call, reply in zip(calls, replies, strict=True):
            outcome = self._dispatcher.requests.answered(call, reply)
        if trace is not None:
            trace.ended(outcome)
        return answer

    async def _served(self, calls: Sequence[Call]) -> list[Reply]:
        if len(calls) == 1:
            return [await self._dispatcher.infer(calls[0])]
        return await self._dispatcher.infer_batch(calls)

    async def received(self, context: Context) -> bytes:
        """The one message of a call. Raises: DeadlinePassed if it takes too long; InvalidArgument if there is none."""
        try:
            with self._expiries.after(self._receive_timeout_s):
                content: Any = await context.read()
        except TimeoutError:
            raise DeadlinePassed(f"the request did not arrive within {self._receive_timeout_s} s") from None
        if not isinstance(content, bytes):
            raise InvalidArgument("the call has no message")
        return content

    def _check(self, call: Call) -> None:
        """Whoever sends a leader more than it takes breaks the connection of all. Raises: InvalidArgument."""
        check_id(call.request_id)
        if (num_bytes := len(call.content)) > self.max_message_bytes:
            raise InvalidInput(
                f"a request of {num_bytes} bytes on its way to a group, allowed are {self.max_message_bytes}"
            )

    def new_request_id(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"
