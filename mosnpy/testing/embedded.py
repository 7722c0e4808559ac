"""mosnpy inside the test's own process: no start-up time, and at the end a count of everything the core did not give back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mosnpy
from mosnpy.testing.loop_thread import LoopThread
from mosnpy.testing.waiting import until


class EmbeddedProxy:
    """A `mosnpy.Proxy` on an event loop of its own thread. Listeners should bind port 0; `address` tells which they got.

    stop() fails the test when connections, streams or buffers are left.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config: dict[str, Any] = {"version": 1, **config}
        self.thread = LoopThread("embedded-proxy")
        self.proxy = mosnpy.Proxy(self.config)

    def start(self) -> EmbeddedProxy:
        try:
            self.thread.call(self.proxy.start())
        except BaseException:
            self.thread.close()
            raise
        return self

    def address(self, listener: str = "front") -> tuple[str, int] | str:
        return self.proxy.address(listener)

    def reload(self, config: Mapping[str, Any]) -> None:
        self.thread.call(self.proxy.reload({"version": 1, **config}))

    def counts(self) -> dict[str, int]:
        """Objects alive in the core, read on the loop's thread: the core belongs to one thread at a time."""

        async def read() -> dict[str, int]:
            return self.proxy.counts()

        return self.thread.call(read())

    def stats(self) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            return self.proxy.stats()

        return self.thread.call(read())

    def quiet(self, what: str = "the proxy to have let go of everything") -> None:
        """Waits until no stream is open and no client is connected. Pooled upstream connections may stay."""

        def idle() -> bool:
            workers, listeners = self.stats()["workers"], self.stats()["listeners"]
            active = sum(one["connections_active"] for one in listeners.values())
            return self.counts().get("streams", 0) == 0 and active == 0 and bool(workers)

        until(idle, f"{what}; {self.counts()}")

    def stop(self) -> None:
        try:
            self.thread.call(self.proxy.close(1.0))
        finally:
            self.thread.close()
        assert not self.proxy.leaks, f"left behind: {self.proxy.leaks}"

    def __enter__(self) -> EmbeddedProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
