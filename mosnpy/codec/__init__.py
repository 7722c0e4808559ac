"""The contract between mosnpy and a protocol, for whoever writes one.

A codec is a package or module with a value `CODEC` of type `Codec`. It is found by name in `mosnpy.codecs.<name>`, by an
entry point of the group `mosnpy.codecs`, or by a path; nothing registers itself, so importing a codec changes nothing.

Reading order: description.py (what a codec says of itself), limits.py (what bounds a peer), registry.py (how it is found).
The verbs that work on bytes live in csrc/codec.h for the native codecs.
"""

from mosnpy.codec.description import Attribute, Codec, PoolMode
from mosnpy.codec.limits import Limit
from mosnpy.codec.registry import CodecNotFoundError, DuplicateCodecError, InvalidCodecError, find, load, names

__all__ = [
    "Attribute",
    "Codec",
    "CodecNotFoundError",
    "DuplicateCodecError",
    "InvalidCodecError",
    "Limit",
    "PoolMode",
    "find",
    "load",
    "names",
]
