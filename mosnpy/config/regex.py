"""Whether a regular expression is one for the core, which uses PCRE2.

Python's own syntax differs in places (possessive groups, recursion, \\h), so the library itself is asked where it can be
loaded; else Python's parser decides, which is right for all but exotic patterns. The core compiles every pattern again when
a plan is built and refuses the plan if it can't.
"""

from __future__ import annotations

import ctypes
import functools
import re
from typing import Any

__all__ = ["group_count", "regex_fault"]

# Values of pcre2.h: the options csrc/route/regex.c compiles with.
_DOLLAR_ENDONLY = 0x00000010
_NEVER_UCP = 0x00000800
_NEVER_UTF = 0x00001000
_NEVER_BACKSLASH_C = 0x00100000
_OPTIONS = _DOLLAR_ENDONLY | _NEVER_UCP | _NEVER_UTF | _NEVER_BACKSLASH_C

_INFO_CAPTURECOUNT = 4

_LONGEST = 4096  # bytes of a pattern


@functools.cache
def _pcre2() -> Any:
    """The loaded library with its prototypes, None where there is none."""
    for name in ("libpcre2-8.so.0", "libpcre2-8.so"):
        try:
            library = ctypes.CDLL(name)
            library.pcre2_compile_8.restype = ctypes.c_void_p
        except (OSError, AttributeError):
            continue
        library.pcre2_compile_8.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_int),
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.c_void_p,
        ]
        library.pcre2_code_free_8.argtypes = [ctypes.c_void_p]
        library.pcre2_pattern_info_8.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
        library.pcre2_get_error_message_8.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        return library
    return None


@functools.lru_cache(maxsize=4096)
def regex_fault(pattern: str) -> str:
    """Why `pattern` can't be used, "" when it can."""
    raw = pattern.encode()
    if not raw:
        return "it is empty, and would match everything"
    if len(raw) > _LONGEST:
        return f"it has more than {_LONGEST} bytes"
    library = _pcre2()
    if library is None:
        try:
            re.compile(pattern)
        except re.error as error:
            return f"{error.msg}" + (f" at character {error.pos + 1}" if error.pos is not None else "")
        return ""
    code, offset = ctypes.c_int(), ctypes.c_size_t()
    compiled = _compile(library, raw, code, offset)
    if compiled:
        library.pcre2_code_free_8(compiled)
        return ""
    text = ctypes.create_string_buffer(256)
    library.pcre2_get_error_message_8(code, text, len(text))
    return f"{text.value.decode(errors='replace')} at character {len(raw[: offset.value].decode(errors='ignore')) + 1}"


def group_count(pattern: str) -> int:
    """Groups of a pattern that regex_fault() finds nothing wrong with."""
    library = _pcre2()
    if library is None:
        return re.compile(pattern).groups
    compiled = _compile(library, pattern.encode(), ctypes.c_int(), ctypes.c_size_t())
    count = ctypes.c_uint32()
    library.pcre2_pattern_info_8(compiled, _INFO_CAPTURECOUNT, ctypes.byref(count))
    library.pcre2_code_free_8(compiled)
    return count.value


def _compile(library: Any, raw: bytes, code: ctypes.c_int, offset: ctypes.c_size_t) -> Any:
    return library.pcre2_compile_8(raw, len(raw), _OPTIONS, ctypes.byref(code), ctypes.byref(offset), None)
