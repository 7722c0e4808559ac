"""Bytes through: the codec of everything mosnpy does not speak. The work is done by csrc/codecs/tcp.c; see SPEC.md.

There are no requests to look into, so rules see only what is known of the connection: client_ip, listener, protocol.
"""

from mosnpy.codec import Codec, PoolMode

__all__ = ["CODEC"]

CODEC = Codec(
    name="tcp",
    doc="passes bytes on as they come, one upstream connection per client",
    pool_mode=PoolMode.PINNED,
    native=True,
)
