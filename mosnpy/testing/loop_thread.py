"""One asyncio loop in a thread, so that blocking tests can own asyncio servers (fake upstream, cutting proxy)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from mosnpy.testing.waiting import FACTOR

T = TypeVar("T")


class LoopThread:
    def __init__(self, name: str = "testing-loop") -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = 20.0) -> T:
        """Runs it on the loop and waits for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout * FACTOR)

    def close(self) -> None:
        async def cancel_all() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


_shared: LoopThread | None = None


def shared_loop() -> LoopThread:
    """The loop thread all fakes of a test process share; lives as long as the process."""
    global _shared
    if _shared is None:
        _shared = LoopThread()
    return _shared
