"""The C core and its binding (``_core.pyx``)."""

from mosnpy.core._core import Core, block_sizes, check_plan, codecs, latency_bounds_us, stat_names

__all__ = ["Core", "block_sizes", "check_plan", "codecs", "latency_bounds_us", "stat_names"]
