"""Parts of mosnpy by themselves, in nanoseconds: `python -m pytest bench/micro`."""
