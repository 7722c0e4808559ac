# cython: language_level=3, embedsignature=True
"""The binding of the C core: one class that owns a core, and the tables of names it was built with.

Nothing here runs per message. ``run`` and ``poll`` release the GIL for as long as they work or wait.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc


cdef extern from "core/host.h" nogil:
    struct stats:
        uint64_t *row
        uint32_t slots

    struct core:
        int epfd
        int eventsfd
        bint drained

    struct host_counts_t "host_counts":
        uint64_t clients, servers, streams, chunks, timers, endpoints

    core *core_new(stats row, const uint8_t *health, uint32_t health_slots, uint64_t seed)
    uint64_t core_free(core *c)
    int core_poll(core *c, int timeout_ms)
    void core_run(core *c)
    int host_post_plan(core *c, const uint8_t *doc, size_t n, const uint32_t *ids, const int *fds, uint32_t count,
                       char *err, size_t err_size)
    int host_check_plan(const uint8_t *doc, size_t n, char *err, size_t err_size)
    int host_post_drain(core *c, uint32_t timeout_ms)
    int host_post_stop(core *c)
    int host_take_event(core *c, int *kind, uint64_t *value, char *text, size_t size)
    void host_set_first_id(core *c, uint64_t base)
    void host_set_inline(core *c, bint on)
    void host_counts_fill "host_counts"(const core *c, host_counts_t *out)
    bint host_stat_name(const char *list, uint32_t i, const char **name, const char **kind, const char **help)
    uint32_t host_block_size(const char *list)
    uint32_t host_latency_bound(uint32_t i)
    const char *host_codec_name(uint32_t k)
    bint host_attribute(int k, uint32_t i, const char **name, const char **type, const char **doc)


_EVENTS = ("plan", "drained", "listener_removed", "info", "warning")
_LISTS = (b"worker", b"listener", b"upstream", b"endpoint", b"route", b"operation", b"failure")


cdef class Core:
    """One C core: loop, listeners, connections, plan.

    stats_row: writable buffer of unsigned 64-bit slots, this worker's row. health: bytes, one per health slot (0
    usable, 1 unhealthy, 2 drained by the operator). Both are borrowed for the core's life. Client ids count from
    first_id, which tells workers' clients apart. ``post_*`` may be called from any thread, everything else only from
    the one that runs or polls. Raises OSError when descriptors or memory are short.
    """

    cdef core *_core
    cdef uint64_t[::1] _row
    cdef const uint8_t[::1] _health

    def __cinit__(self, stats_row, health, *, seed=0, first_id=0):
        cdef stats row
        self._row = stats_row
        self._health = health
        row.row = &self._row[0]
        row.slots = <uint32_t>self._row.shape[0]
        self._core = core_new(row, &self._health[0] if self._health.shape[0] else NULL,
                              <uint32_t>self._health.shape[0], <uint64_t>seed)
        if self._core is NULL:
            raise OSError("cannot create the core: out of file descriptors or memory")
        host_set_first_id(self._core, <uint64_t>first_id)

    def __dealloc__(self):
        if self._core is not NULL:
            core_free(self._core)
            self._core = NULL

    cdef core *_open(self) except NULL:
        if self._core is NULL:
            raise ValueError("the core is closed")
        return self._core

    def post_plan(self, const uint8_t[::1] plan not None, dict listeners not None):
        """Builds the plan here and hands it to the loop. listeners: listener id -> fd, or a list of them.

        The fds stay the caller's. Raises ValueError with a sentence when the plan is malformed.
        """
        pairs = []
        for key, fds in listeners.items():
            pairs += [(key, fd) for fd in (fds if isinstance(fds, (list, tuple)) else (fds,))]
        cdef uint32_t count = <uint32_t>len(pairs), i
        cdef char err[512]
        cdef uint32_t *ids = <uint32_t *>malloc((count + 1) * sizeof(uint32_t))
        cdef int *fds_c = <int *>malloc((count + 1) * sizeof(int))
        if ids is NULL or fds_c is NULL:
            free(ids)
            free(fds_c)
            raise MemoryError()
        try:
            for i in range(count):
                ids[i], fds_c[i] = pairs[i]
            if host_post_plan(self._open(), &plan[0], plan.shape[0], ids, fds_c, count, err, sizeof(err)) < 0:
                raise ValueError((<bytes>err).decode("utf-8", "replace"))
        finally:
            free(ids)
            free(fds_c)

    def post_drain(self, timeout_ms):
        """Stops accepting, finishes what is in flight, closes idle clients; the rest after timeout_ms."""
        host_post_drain(self._open(), <uint32_t>timeout_ms)

    def post_stop(self):
        """run() returns after the current batch."""
        host_post_stop(self._open())

    def run(self):
        """Turns of the loop until post_stop(); the data thread's whole life."""
        cdef core *c = self._open()
        with nogil:
            core_run(c)

    def poll(self, int timeout_ms=0):
        """One turn; waits at most timeout_ms. Returns the number of events handled."""
        cdef core *c = self._open()
        cdef int n
        host_set_inline(c, True)
        with nogil:
            n = core_poll(c, timeout_ms)
        return n

    def fileno(self):
        """The epoll descriptor: readable when poll() has work, timers included."""
        return self._open().epfd

    def events_fd(self):
        """Readable when take_events() has something."""
        return self._open().eventsfd

    def take_events(self):
        """What happened since the last call: ("plan", generation), ("drained", None), ("listener_removed", id).

        And lines for the log: ("info", text), ("warning", text).
        """
        cdef int kind = 0
        cdef uint64_t value = 0
        cdef char text[1024]
        events = []
        while host_take_event(self._open(), &kind, &value, text, sizeof(text)):
            name = _EVENTS[kind]
            line = name in ("info", "warning")
            events.append((name, (<bytes>text).decode("utf-8", "replace") if line else None if kind == 1 else value))
        return events

    @property
    def drained(self):
        return bool(self._open().drained)

    def counts(self):
        """Live objects, for leak checks: clients, servers, streams, chunks, timers, endpoints."""
        cdef host_counts_t n
        host_counts_fill(self._open(), &n)
        return {"clients": n.clients, "servers": n.servers, "connections": n.clients + n.servers, "streams": n.streams,
                "chunks": n.chunks, "timers": n.timers, "endpoints": n.endpoints}

    def close(self):
        """Closes every connection and frees the core. Returns how many objects leaked (0)."""
        if self._core is NULL:
            return 0
        leaked = core_free(self._core)
        self._core = NULL
        return leaked


def stat_names():
    """{list: [(name, "C" counter or "G" gauge, help)]}; list "failure": [(NAME, flag, text)]."""
    cdef const char *name = NULL
    cdef const char *kind = NULL
    cdef const char *text = NULL
    names = {}
    for key in _LISTS:
        rows = names[key.decode()] = []
        while host_stat_name(key, len(rows), &name, &kind, &text):
            rows.append((name.decode(), kind.decode(), text.decode()))
    return names


def latency_bounds_us():
    """Upper bounds of the latency buckets in microseconds; one more bucket is +Inf."""
    bounds = []
    while host_latency_bound(len(bounds)):
        bounds.append(host_latency_bound(len(bounds)))
    return bounds


def block_sizes():
    """Slots per statistics block."""
    return {key.decode(): host_block_size(key) for key in _LISTS if key != b"failure"}


cdef list _attributes(int k):
    cdef const char *name = NULL
    cdef const char *type_ = NULL
    cdef const char *doc = NULL
    rows = []
    while host_attribute(k, <uint32_t>len(rows), &name, &type_, &doc):
        rows.append((name.decode(), type_.decode(), doc.decode()))
    return rows


def codecs():
    """Native codec -> its attributes [(name, type, doc)]; "common": those of every protocol."""
    result = {"common": _attributes(-1)}
    cdef uint32_t k = 0
    while host_codec_name(k) is not NULL:
        result[host_codec_name(k).decode()] = _attributes(<int>k)
        k += 1
    return result


def check_plan(const uint8_t[::1] plan not None):
    """Builds a plan and frees it. Raises ValueError with a sentence when it is malformed."""
    cdef char err[512]
    if host_check_plan(&plan[0], plan.shape[0], err, sizeof(err)) < 0:
        raise ValueError((<bytes>err).decode("utf-8", "replace"))
