/* Detection asks the protocols of the chain in the configured order; the first one to say yes has it, and none is passed over
 * while it still says maybe. One without match() (tcp) takes what the others refuse, and who says nothing for a moment: its
 * server may have to speak first. */
#include "detect.h"

#include "greeting.h"

#define SILENCE_MS 200    /* a client that says nothing for so long is waiting for a server that speaks first */
#define UNDECIDED_MS 5000 /* bytes came, but too few to tell */

static const struct service *catch_all(const struct chain *chain) {
    for (uint32_t i = 0; i < chain->service_count; i++)
        if (!chain->services[i].codec->match) return &chain->services[i];
    return NULL;
}

const struct codec *detect_first(const struct listener *l) {
    bool at_once = !l->greets && !l->proxy_protocol && l->chain_count == 1 && l->chains[0].service_count == 1;
    return at_once ? l->chains[0].services[0].codec : &detect_codec;
}

static const struct service *by_alpn(const struct chain *chain, struct slice alpn) {
    struct slice name = slice_eq(alpn, SLICE("h2"))         ? SLICE("http2")
                        : slice_eq(alpn, SLICE("http/1.1")) ? SLICE("http1")
                                                            : alpn;
    for (uint32_t i = 0; name.n && i < chain->service_count; i++)
        if (slice_eq(name, slice_of(chain->services[i].codec->name, strlen(chain->services[i].codec->name))))
            return &chain->services[i];
    return NULL;
}

bool detect_protocol(struct conn *c, struct slice alpn) {
    const struct chain *chain = c->chain;
    const struct service *service = chain->service_count == 1 ? &chain->services[0] : by_alpn(chain, alpn);
    if (service) return conn_become(c, service);
    c->codec_deadline_ms = c->core->now_ms + (catch_all(chain) ? SILENCE_MS : UNDECIDED_MS);
    conn_arm_timer(c);
    return true;
}

bool detect_begin(struct conn *c) {
    if (!c->listener->greets) return detect_protocol(c, SLICE(""));
    greeting_begin(c);
    return true;
}

/* `last`: more bytes will not be waited for. */
static const struct service *decide(const struct chain *chain, const uint8_t *p, size_t n, bool last, bool *more) {
    *more = false;
    for (uint32_t i = 0; n && i < chain->service_count; i++) {
        const struct codec *codec = chain->services[i].codec;
        enum match m = codec->match ? codec->match(p, n) : MATCH_NO;
        if (m == MATCH_YES) return &chain->services[i];
        if (m == MATCH_MORE && !last) {
            *more = true;
            return NULL;
        }
    }
    return catch_all(chain);
}

/* How long a client may keep us guessing: no longer than any of the protocols would wait. */
static uint64_t undecided_until(const struct conn *c) {
    uint32_t ms = UNDECIDED_MS;
    for (uint32_t i = 0; i < c->chain->service_count; i++) {
        const struct service *s = &c->chain->services[i];
        uint32_t limit = s->codec->head_timeout_ms ? s->codec->head_timeout_ms(s->options) : 0;
        if (limit && limit < ms) ms = limit;
    }
    return c->core->now_ms + ms;
}

static ssize_t detect_feed(struct conn *c, const uint8_t *p, size_t n) {
    bool more;
    const struct service *service = decide(c->chain, p, n, false, &more);
    if (more) { /* from the first byte on, whatever trickles in behind it */
        if (!c->undecided) c->undecided = true, c->codec_deadline_ms = undecided_until(c);
        conn_arm_timer(c);
        return 0;
    }
    if (!service) return FEED_CLOSE;
    if (!conn_become(c, service)) return 0;
    return c->paused ? 0 : c->codec->feed(c, p, n);
}

static void detect_overdue(struct conn *c) {
    bool more;
    const struct service *service = decide(c->chain, c->in + c->in_start, c->in_end - c->in_start, true, &more);
    if (!service) {
        if (c->in_end > c->in_start) conn_doom(c, FAIL_BAD_REQUEST);
        return; /* a client that says nothing: the idle timeout's business */
    }
    if (conn_become(c, service)) conn_list_ready(c);
}

/* Nothing more will come: what is there decides. A half-closed client may still be waiting for an answer, or for a server that
 * speaks first; its codec reads the end again. */
static void detect_eof(struct conn *c) {
    bool more;
    const struct service *service = decide(c->chain, c->in + c->in_start, c->in_end - c->in_start, true, &more);
    if (!service) conn_finish(c);
    else if (conn_become(c, service)) conn_read_again(c);
}

const struct codec detect_codec = {
    .name = "detect", .max_stash = 64u * 1024, .feed = detect_feed, .eof = detect_eof, .overdue = detect_overdue};
