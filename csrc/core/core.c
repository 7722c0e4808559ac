/* The loop: one turn of it, mail from other threads, and what happens once per tick. */
#include "core.h"

#include "../codec.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "listen.h"
#include "pool.h"
#include "stream.h"
#include "tls.h"

/* ---- slabs ---- */

struct slab_block {
    struct slab_block *next;
    _Alignas(16) uint8_t data[];
};

/* The free-list link lies behind the object, so that a freed conn keeps its generation. */
static void **slab_link(struct slab *s, void *object) { return (void **)((uint8_t *)object + s->size); }

void slab_init(struct slab *s, size_t size) {
    memset(s, 0, sizeof *s);
    s->size = (size + 15) & ~(size_t)15;
}

static bool slab_grow(struct slab *s) {
    size_t stride = s->size + 16, count = max_size(1, 32768 / stride);
    struct slab_block *b = calloc(1, sizeof *b + stride * count);
    if (!b) return false;
    b->next = s->blocks, s->blocks = b;
    for (size_t i = count; i-- > 0;) {
        void *object = b->data + i * stride;
        *slab_link(s, object) = s->free, s->free = object;
    }
    s->total += (uint32_t)count;
    return true;
}

void *slab_new(struct slab *s) {
    if (unlikely(!s->free) && !slab_grow(s)) return NULL;
    void *object = s->free;
    s->free = *slab_link(s, object);
    s->live++;
    return object;
}

void slab_put(struct slab *s, void *object) {
    *slab_link(s, object) = s->free, s->free = object;
    s->live--;
}

void slab_free(struct slab *s) {
    for (struct slab_block *b = s->blocks, *next; b; b = next) next = b->next, free(b);
    s->blocks = NULL, s->free = NULL;
}

/* ---- birth and death ---- */

static void read_clock(struct core *core) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    core->now_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    core->now_ms = core->now_us / 1000;
}

static uint32_t codec_count(void) {
    uint32_t n = 0;
    while (codecs[n]) n++;
    return n;
}

uint32_t codec_index(const struct codec *codec) {
    uint32_t i = 0;
    while (codecs[i] != codec) i++;
    return i;
}

/* Gauges are published here, not on every change: nobody reads them more often. */
static void publish_gauges(struct core *core) {
    core->stat[WORKER_connections] = core->conn_count[UP] + core->conn_count[DOWN];
    core->stat[WORKER_streams] = core->streams.live;
    core->stat[WORKER_buffer_chunks] = core->chunks.live;
    for (struct endpoint *ep = core->endpoints; ep; ep = ep->next) {
        ep->stat[ENDPOINT_requests_active] = ep->inflight;
        ep->stat[ENDPOINT_connections_active] = ep->connections;
        ep->stat[ENDPOINT_ejected] = ep->ejected_until_ms > core->now_ms;
    }
    if (!core->plan) return;
    for (uint32_t i = 0; i < core->plan->listener_count; i++)
        core->plan->listeners[i].stat[LISTENER_requests_active] = 0;
    for (struct conn *c = core->conns[DOWN]; c; c = c->next) c->listener->stat[LISTENER_requests_active] += c->streams;
}

/* A client that has nothing open and has been silent for a while: if it is about to say something, it can't have been sent yet. */
static bool pauses(const struct core *core, struct conn *c) {
    return c->streams == 0 && c->in_end == c->in_start && !c->paused && tls_between(c) &&
           core->now_ms >= c->active_ms + DRAIN_IDLE_MS && (!c->codec->busy || !c->codec->busy(c));
}

/* Clients of a listener that a reload took away. Those of HTTP/2 know when to leave, those of TCP say so. */
static void check_leaving(struct core *core) {
    if (likely(!core->leaving) || core->draining) return;
    core->leaving = false;
    for (struct conn *c = core->conns[DOWN], *next; c; c = next) {
        next = c->next;
        bool leaves = c->codec->mode == POOL_PING_PONG || c->codec->mode == POOL_PIPELINE;
        if (c->listener->plan == core->plan || !leaves) continue;
        core->leaving = true;
        if (c->codec->drain) c->codec->drain(c);
        if (pauses(core, c)) conn_finish(c);
    }
}

static void check_drained(struct core *core) {
    if (!core->draining || core->drained) return;
    bool late = core->now_ms >= core->drain_deadline_ms;
    for (struct conn *c = core->conns[DOWN], *next; c; c = next) {
        next = c->next;
        if (late) conn_close(c, FAIL_DRAINING);
        else if (pauses(core, c)) conn_finish(c);
    }
    if (core->conn_count[DOWN] == 0) core->drained = true, core_emit(core, EVENT_DRAINED, 0);
}

static void core_tick(struct timer *t, void *arg) {
    struct core *core = arg;
    endpoint_refresh(core);
    pool_sweep(core);
    publish_gauges(core);
    check_drained(core);
    check_leaving(core);
    timer_set(&core->wheel, t, core->now_ms + TICK_MS);
}

/* Clients leave some descriptors for the upstream connections their requests need. */
static uint32_t client_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > UINT32_MAX / 2) return UINT32_MAX / 2;
    uint32_t all = (uint32_t)limit.rlim_cur, keep = all / 8 < 64 ? all / 8 : 64;
    return all - keep;
}

static int watch(struct core *core, int fd, void *tag) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};
    return fd < 0 ? -1 : epoll_ctl(core->epfd, EPOLL_CTL_ADD, fd, &ev);
}

struct core *core_new(struct stats stats, const volatile uint8_t *health, uint32_t health_slots, uint64_t seed) {
    struct core *core = calloc(1, sizeof *core);
    if (!core) return NULL;
    core->stats = stats, core->stat = stats.row;
    core->health = health, core->health_slots = health_slots;
    core->rng = hash_mix(seed ^ 0x9e3779b97f4a7c15ULL) | 1;
    core->scratch_size = SCRATCH_MIN;
    core->client_limit = client_limit();
    core->mail_tail = &core->mail, core->events_tail = &core->events;
    pthread_mutex_init(&core->mail_lock, NULL);
    chunk_pool_init(&core->chunks);
    slab_init(&core->streams, sizeof(struct stream));
    read_clock(core);
    timer_wheel_init(&core->wheel, core->now_ms);
    timer_init(&core->tick, core_tick, core);
    timer_set(&core->wheel, &core->tick, core->now_ms + TICK_MS);
    uint32_t n = codec_count(), any = 0;
    core->any_slab = n * 2;
    core->conn_slabs = calloc(n * 2 + 1, sizeof *core->conn_slabs);
    core->scratch = malloc(core->scratch_size);
    core->epfd = epoll_create1(EPOLL_CLOEXEC);
    core->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    core->eventsfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    core->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!core->conn_slabs || !core->scratch || core->epfd < 0 || core->eventsfd < 0 ||
        watch(core, core->wakefd, &core->wakefd) || watch(core, core->timerfd, &core->timerfd)) {
        core_free(core);
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        slab_init(&core->conn_slabs[i * 2 + DOWN], sizeof(struct conn) + codecs[i]->down_session);
        slab_init(&core->conn_slabs[i * 2 + UP], sizeof(struct conn) + codecs[i]->up_session);
        if (codecs[i]->down_session > any) any = codecs[i]->down_session;
    }
    slab_init(&core->conn_slabs[core->any_slab], sizeof(struct conn) + any);
    return core;
}

static void free_mail(struct core *core, struct mail *m) {
    if (m->plan) plan_unref(core, m->plan);
    free(m->listeners);
    free(m);
}

static void reap(struct core *core) {
    struct conn *list = core->dead;
    core->dead = NULL;
    for (struct conn *c = list, *next; c; c = next) {
        next = c->dead_next;
        if (c->listed || c->dirty) { /* still on a list that outlives the batch: next time */
            c->dead_next = core->dead, core->dead = c;
            continue;
        }
        c->gen++;
        tls_free(c);
        slab_put(&core->conn_slabs[c->slab], c);
    }
}

uint64_t core_free(struct core *core) {
    if (!core) return 0;
    core->draining = true;
    while (core->conns[DOWN]) conn_close(core->conns[DOWN], FAIL_DRAINING);
    while (core->conns[UP]) conn_close(core->conns[UP], FAIL_DRAINING);
    for (struct conn *c = core->dead; c; c = c->dead_next) c->dirty = c->listed = false;
    core->dirty = core->ready = NULL;
    reap(core);
    while (core->acceptors) acceptor_remove(core, core->acceptors);
    for (struct mail *m = core->mail, *next; m; m = next) next = m->next, free_mail(core, m);
    if (core->plan) plan_unref(core, core->plan), core->plan = NULL;
    pool_sweep(core);
    if (core->tick.pprev) timer_cancel(&core->wheel, &core->tick);
    for (struct core_event *e = core->events, *next; e; e = next) next = e->next, free(e);
    uint64_t leaked = core->streams.live + core->chunks.live + core->wheel.armed + (core->endpoints != NULL);
    for (uint32_t i = 0; core->conn_slabs && i <= core->any_slab; i++)
        leaked += core->conn_slabs[i].live, slab_free(&core->conn_slabs[i]);
    for (uint32_t i = 0; codecs[i]; i++)
        if (codecs[i]->core_close && core->shared[codecs[i]->shared])
            codecs[i]->core_close(core->shared[codecs[i]->shared]);
    slab_free(&core->streams);
    chunk_pool_free(&core->chunks);
    free(core->conn_slabs);
    free(core->scratch);
    free(core->plain);
    int fds[] = {core->epfd, core->wakefd, core->eventsfd, core->timerfd};
    for (size_t i = 0; i < countof(fds); i++)
        if (fds[i] > 0) close(fds[i]);
    pthread_mutex_destroy(&core->mail_lock);
    free(core);
    return leaked;
}

/* ---- other threads ---- */

static void ring(int fd) {
    uint64_t one = 1;
    ssize_t r = write(fd, &one, sizeof one); /* EAGAIN: it rings already */
    (void)r;
}

void core_post(struct core *core, struct mail *m) {
    m->next = NULL;
    pthread_mutex_lock(&core->mail_lock);
    *core->mail_tail = m, core->mail_tail = &m->next;
    pthread_mutex_unlock(&core->mail_lock);
    ring(core->wakefd);
}

static void emit(struct core *core, int kind, uint64_t value, const char *text) {
    size_t n = strlen(text) + 1;
    struct core_event *e = calloc(1, sizeof *e + n);
    if (!e) return; /* the host learns it late, from counts; nothing is lost */
    e->kind = kind, e->value = value;
    memcpy(e->text, text, n);
    pthread_mutex_lock(&core->mail_lock);
    *core->events_tail = e, core->events_tail = &e->next;
    pthread_mutex_unlock(&core->mail_lock);
    ring(core->eventsfd);
}

void core_emit(struct core *core, int kind, uint64_t value) { emit(core, kind, value, ""); }
void core_say(struct core *core, int kind, const char *text) { emit(core, kind, 0, text); }

struct core_event *core_take_event(struct core *core) {
    uint64_t drop;
    ssize_t r = read(core->eventsfd, &drop, sizeof drop);
    (void)r;
    pthread_mutex_lock(&core->mail_lock);
    struct core_event *e = core->events;
    if (e && !(core->events = e->next)) core->events_tail = &core->events;
    pthread_mutex_unlock(&core->mail_lock);
    return e;
}

static void start_drain(struct core *core, uint32_t timeout_ms) {
    core->draining = true;
    core->drain_deadline_ms = core->now_ms + timeout_ms;
    core->drain_farewell_ms = core->drain_deadline_ms - timeout_ms / 4;
    for (struct acceptor *a = core->acceptors; a; a = a->next) acceptor_drain(core, a);
    for (struct conn *c = core->conns[DOWN]; c; c = c->next)
        if (c->codec->drain) c->codec->drain(c);
    check_drained(core);
}

static void read_mail(struct core *core) {
    uint64_t drop;
    ssize_t r = read(core->wakefd, &drop, sizeof drop);
    (void)r;
    pthread_mutex_lock(&core->mail_lock);
    struct mail *m = core->mail;
    core->mail = NULL, core->mail_tail = &core->mail;
    pthread_mutex_unlock(&core->mail_lock);
    for (struct mail *next; m; m = next) {
        next = m->next;
        if (m->kind == MAIL_PLAN) {
            plan_adopt(core, m->plan);
            m->plan = NULL; /* the core's reference now */
            acceptors_set(core, m->listeners, m->listener_count);
            core->stat[WORKER_plan_generation] = core->plan->generation;
            core_emit(core, EVENT_PLAN, core->plan->generation);
        } else if (m->kind == MAIL_DRAIN) {
            start_drain(core, m->timeout_ms);
        } else {
            core->stopping = true;
        }
        free_mail(core, m);
    }
}

/* ---- one turn ---- */

static void handle_event(struct core *core, const struct epoll_event *ev) {
    uintptr_t tag = (uintptr_t)ev->data.ptr;
    if (tag == (uintptr_t)&core->wakefd) {
        read_mail(core);
    } else if (tag == (uintptr_t)&core->timerfd) {
        uint64_t drop;
        ssize_t r = read(core->timerfd, &drop, sizeof drop);
        (void)r;
        core->timerfd_ms = 0;
    } else if (tag & 1) {
        acceptor_ready((struct acceptor *)(tag - 1));
    } else {
        conn_event(ev->data.ptr, ev->events);
    }
}

/* Connections made readable again by this batch. New ones may join while we go; bounded so that timers and epoll get a turn. */
static void run_ready(struct core *core) {
    for (int round = 0; core->ready && round < 8; round++) {
        struct conn *list = core->ready;
        core->ready = NULL;
        for (struct conn *c = list, *next; c; c = next) {
            next = c->ready_next, c->ready_next = NULL, c->listed = false;
            if (c->state == CONN_DEAD) continue;
            if (c->doom) conn_close(c, c->doom);
            else conn_read(c);
        }
    }
}

static void flush_dirty(struct core *core) {
    while (core->dirty) {
        struct conn *c = core->dirty;
        core->dirty = c->dirty_next, c->dirty_next = NULL, c->dirty = false;
        if (c->state != CONN_DEAD) conn_flush(c);
    }
}

static void adapt_scratch(struct core *core) {
    core->scratch_filled = false;
    if (core->scratch_size >= SCRATCH_MAX) return;
    uint8_t *bigger = malloc(core->scratch_size * 2);
    if (!bigger) return;
    free(core->scratch);
    core->scratch = bigger, core->scratch_size *= 2;
}

/* Inline host: the other loop watches our epoll fd; a timerfd in it makes our timers visible. */
static void arm_timerfd(struct core *core) {
    int ms = core->ready || core->dirty ? 1 : timer_next_ms(&core->wheel, core->now_ms, TICK_MS);
    uint64_t when = core->now_ms + (uint64_t)(ms > 0 ? ms : 1);
    if (core->timerfd_ms && core->timerfd_ms <= when && core->timerfd_ms > core->now_ms) return;
    struct itimerspec spec = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 + (ms == 0)}};
    timerfd_settime(core->timerfd, 0, &spec, NULL);
    core->timerfd_ms = when;
}

int core_poll(struct core *core, int timeout_ms) {
    if (core->ready) timeout_ms = 0;
    if (timeout_ms != 0) timeout_ms = timer_next_ms(&core->wheel, core->now_ms, timeout_ms < 0 ? TICK_MS : timeout_ms);
    int n = epoll_wait(core->epfd, core->batch, MAX_EVENTS, timeout_ms);
    if (n < 0) n = 0; /* EINTR: timers may be due all the same */
    read_clock(core);
    uint64_t begin = core->now_us;
    if (core->inline_host) tls_clear_errors();
    for (int i = 0; i < n; i++) handle_event(core, &core->batch[i]);
    if (core->now_ms > core->wheel.now_ms) timer_advance(&core->wheel, core->now_ms);
    run_ready(core);
    flush_dirty(core);
    if (unlikely(core->dead != NULL)) reap(core);
    if (unlikely(core->scratch_filled)) adapt_scratch(core);
    core->stat[WORKER_polls]++;
    core->stat[WORKER_events] += (uint64_t)n;
    if (core->inline_host) arm_timerfd(core);
    if (n > 0) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        core->stat[WORKER_busy_us] += (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000 - begin;
    }
    return n;
}

void core_run(struct core *core) {
    uint64_t last_work_us = 0;
    while (!core->stopping) {
        /* Adaptive: only within busy_poll_us of the last event; an idle worker sleeps. */
        uint32_t spin = core->plan ? core->plan->busy_poll_us : 0;
        bool hot = spin && core->now_us - last_work_us < spin;
        if (core_poll(core, hot ? 0 : -1) > 0) last_work_us = core->now_us;
    }
}
