/* SPDX-License-Identifier: Apache-2.0 */
/* One heap of events: a request arrives at the back end, its answer arrives at the client, a client
 * wakes, work is offered. A client is the loop of an exporter reduced to its bones: while there is
 * work and the limiter says now, send; else sleep until it says, with a timer as coarse and as late
 * as a real loop's. */
#include "tests/control/simulator.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

enum {
    EVENTS_MAX = 1 << 14,
    WORKERS_MAX = 256,
    SLIDING_MAX = 4096,
    SENT_KEPT = 4096,
    LATENCIES = 512,
};

static const uint64_t start_ns = 1000 * NS_PER_S; /* no zero among the timestamps */
static const double latency_least_s = 1e-4, latency_step = 1.03;

enum event_kind { ARRIVAL, ANSWER, WAKE, OFFER };

struct event {
    uint64_t at_ns, sent_ns, retry_after_ns;
    uint32_t client;
    enum event_kind kind;
    enum limiter_result result;
};

struct client {
    struct limiter limiter;
    uint32_t fresh, again; /* batches never sent, and to be sent again */
    uint64_t wake_ns;      /* 0: no timer */
    uint64_t sent_ns[SENT_KEPT];
    uint64_t sent;
};

struct world {
    const struct sim_scenario *scenario;
    struct sim_result *result;
    struct random random;
    uint64_t now_ns;
    struct event heap[EVENTS_MAX];
    uint32_t events;
    struct client clients[SIM_CLIENTS];
    /* the back end */
    uint64_t worker_free_ns[WORKERS_MAX];
    uint64_t window;     /* number of the one counted */
    double window_count; /* in it */
    double level;        /* of the bucket */
    uint64_t level_ns;
    uint64_t sliding_ns[SLIDING_MAX];
    uint64_t sliding_count;
    uint32_t latencies[LATENCIES];
};

static struct world world; /* too large for a stack */

static double chance(struct world *w)
{
    return (double)(random_next(&w->random) >> 11) / (double)(1ull << 53);
}

static double passed_s(const struct world *w)
{
    return (double)(w->now_ns - start_ns) / 1e9;
}

static uint64_t ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

static double at_step(const struct sim_step *steps, double now_s)
{
    double value = steps[0].value;
    for (int i = 1; i < SIM_STEPS && steps[i].at_s > 0; i++)
        if (now_s >= steps[i].at_s)
            value = steps[i].value;
    return value;
}

static struct sim_second *second(struct world *w)
{
    uint32_t at = (uint32_t)passed_s(w);
    return &w->result->seconds[at < w->result->count ? at : w->result->count - 1];
}

/* --- events --- */

static void push(struct world *w, const struct event *event)
{
    CHECK(w->events < EVENTS_MAX);
    uint32_t at = w->events++;
    while (at > 0 && w->heap[(at - 1) / 2].at_ns > event->at_ns) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = *event;
}

static struct event pop(struct world *w)
{
    struct event first = w->heap[0], last = w->heap[--w->events];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < w->events && w->heap[child + 1].at_ns < w->heap[child].at_ns)
            child++;
        if (child >= w->events || w->heap[child].at_ns >= last.at_ns)
            break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    return first;
}

/* --- the back end --- */

static bool in_outage(const struct sim_backend *backend, double now_s)
{
    return now_s >= backend->outage_from_s && now_s < backend->outage_to_s;
}

static bool counted(struct world *w, double limit)
{
    const struct sim_backend *backend = &w->scenario->backend;
    double most = limit * backend->window_s;
    switch (backend->counting) {
    case SIM_UNLIMITED:
        return true;
    case SIM_WINDOW: {
        uint64_t window = w->now_ns / ns(backend->window_s);
        if (window != w->window)
            w->window_count = 0;
        w->window = window;
        if (w->window_count + 1 > most)
            return false;
        w->window_count++;
        return true;
    }
    case SIM_SLIDING: {
        uint64_t least = (uint64_t)most;
        CHECK(least > 0 && least < SLIDING_MAX);
        if (w->sliding_count >= least &&
            w->now_ns - w->sliding_ns[(w->sliding_count - least) % SLIDING_MAX] <
                ns(backend->window_s))
            return false;
        w->sliding_ns[w->sliding_count++ % SLIDING_MAX] = w->now_ns;
        return true;
    }
    case SIM_BUCKET:
        w->level = fmin(most, w->level + limit * (double)(w->now_ns - w->level_ns) / 1e9);
        w->level_ns = w->now_ns;
        if (w->level < 1)
            return false;
        w->level--;
        return true;
    }
    return true;
}

static uint64_t hint_ns(const struct world *w)
{
    const struct sim_backend *backend = &w->scenario->backend;
    if (!backend->hint)
        return 0;
    uint64_t left_ns = NS_PER_S;
    if (backend->counting == SIM_WINDOW)
        left_ns = ns(backend->window_s) - w->now_ns % ns(backend->window_s);
    return (left_ns + NS_PER_S - 1) / NS_PER_S * NS_PER_S;
}

/* When a worker will have done it; 0: no place in the queue. */
static uint64_t serve(struct world *w)
{
    const struct sim_backend *backend = &w->scenario->backend;
    uint64_t service_ns = ns(backend->service_s * (0.5 + chance(w)));
    if (backend->workers == 0)
        return w->now_ns + service_ns;
    uint32_t first = 0;
    for (uint32_t i = 1; i < backend->workers; i++)
        if (w->worker_free_ns[i] < w->worker_free_ns[first])
            first = i;
    uint64_t begin_ns = w->worker_free_ns[first] > w->now_ns ? w->worker_free_ns[first] : w->now_ns;
    double waiting = (double)(begin_ns - w->now_ns) / 1e9 / backend->service_s * backend->workers;
    if (waiting > backend->queue)
        return 0;
    w->worker_free_ns[first] = begin_ns + service_ns;
    return begin_ns + service_ns;
}

static void arrive(struct world *w, const struct event *arrival)
{
    const struct sim_backend *backend = &w->scenario->backend;
    double now_s = passed_s(w),
           way_s = at_step(backend->rtt_s, now_s) / 2 * (0.9 + 0.2 * chance(w));
    struct event answer = *arrival;
    answer.kind = ANSWER;
    answer.at_ns = w->now_ns + ns(way_s);
    answer.result = LIMITER_OK;
    if (in_outage(backend, now_s)) {
        answer.result = backend->outage;
        if (backend->outage == LIMITER_TIMEOUT)
            answer.at_ns = arrival->sent_ns + ns(backend->timeout_s);
        w->result->into_outage++;
        push(w, &answer);
        return;
    }
    uint64_t done_ns = 0;
    if (!counted(w, at_step(backend->limit, now_s)) || (done_ns = serve(w)) == 0) {
        answer.result = LIMITER_THROTTLED;
        answer.retry_after_ns = hint_ns(w);
        push(w, &answer);
        return;
    }
    if (backend->fails_share > 0 && chance(w) < backend->fails_share)
        answer.result = LIMITER_SERVER_ERROR;
    answer.at_ns = done_ns + ns(way_s);
    double answer_s = (double)(answer.at_ns - start_ns) / 1e9;
    if (in_outage(backend, answer_s)) {
        answer.result = backend->outage;
        answer.at_ns = start_ns + ns(backend->outage_from_s);
        if (backend->outage == LIMITER_TIMEOUT)
            answer.at_ns = arrival->sent_ns + ns(backend->timeout_s);
        w->result->into_outage++;
    }
    push(w, &answer);
}

/* --- clients --- */

static bool greedy(const struct world *w)
{
    return w->scenario->offered <= 0;
}

static void note_sent(struct world *w, struct client *client)
{
    second(w)->sent++;
    w->result->sent++;
    client->sent_ns[client->sent++ % SENT_KEPT] = w->now_ns;
    /* how many of the last ones were in the second that ends now: only where it may be a record */
    while (client->sent > w->result->busiest && w->result->busiest < SENT_KEPT - 1 &&
           w->now_ns - client->sent_ns[(client->sent - 1 - w->result->busiest) % SENT_KEPT] <
               NS_PER_S)
        w->result->busiest++;
}

static void send(struct world *w, uint32_t index, bool retry)
{
    struct client *client = &w->clients[index];
    limiter_sent(&client->limiter, retry, 1000, w->now_ns);
    if (retry)
        client->again--;
    else if (!greedy(w))
        client->fresh--;
    note_sent(w, client);
    double way_s = at_step(w->scenario->backend.rtt_s, passed_s(w)) / 2 * (0.9 + 0.2 * chance(w));
    push(w, &(struct event){.at_ns = w->now_ns + ns(way_s),
                            .sent_ns = w->now_ns,
                            .client = index,
                            .kind = ARRIVAL});
}

static void go_on(struct world *w, uint32_t index)
{
    struct client *client = &w->clients[index];
    for (;;) {
        uint64_t ready_ns = UINT64_MAX, fresh_ns = UINT64_MAX;
        bool retry = client->again > 0;
        if (retry)
            ready_ns = limiter_ready_ns(&client->limiter, true, 1000, w->now_ns);
        if (ready_ns > w->now_ns && (client->fresh > 0 || greedy(w)))
            fresh_ns = limiter_ready_ns(&client->limiter, false, 1000, w->now_ns);
        if (fresh_ns < ready_ns) {
            ready_ns = fresh_ns;
            retry = false;
        }
        if (ready_ns == UINT64_MAX)
            return;
        if (ready_ns > w->now_ns) {
            /* a timer of a millisecond, up to another late */
            ready_ns = (ready_ns / NS_PER_MS + 1) * NS_PER_MS + random_below(&w->random, NS_PER_MS);
            if (client->wake_ns > w->now_ns && client->wake_ns <= ready_ns)
                return;
            client->wake_ns = ready_ns;
            push(w, &(struct event){.at_ns = ready_ns, .client = index, .kind = WAKE});
            return;
        }
        send(w, index, retry);
    }
}

static void note_latency(struct world *w, double latency_s)
{
    double bucket = log(fmax(latency_s, latency_least_s) / latency_least_s) / log(latency_step);
    w->latencies[bucket < LATENCIES - 1 ? (int)bucket : LATENCIES - 1]++;
}

static void answered(struct world *w, const struct event *event)
{
    struct client *client = &w->clients[event->client];
    struct sim_second *now = second(w);
    double now_s = passed_s(w), outage_to_s = w->scenario->backend.outage_to_s;
    limiter_answered(&client->limiter,
                     &(struct limiter_answer){.result = event->result,
                                              .sent_ns = event->sent_ns,
                                              .retry_after_ns = event->retry_after_ns},
                     w->now_ns);
    if (event->result == LIMITER_OK) {
        now->accepted++;
        w->result->accepted++;
        w->result->per_client[event->client]++;
        note_latency(w, (double)(w->now_ns - event->sent_ns) / 1e9);
        if (outage_to_s > 0 && now_s >= outage_to_s && w->result->back_s < 0)
            w->result->back_s = now_s - outage_to_s;
    } else {
        client->again++;
        if (event->result == LIMITER_THROTTLED) {
            now->rejected++;
            w->result->rejected++;
        } else {
            now->failed++;
            w->result->failed++;
        }
    }
    if (outage_to_s > 0 && now_s >= outage_to_s && w->result->caught_up_s < 0 &&
        client->again + client->fresh < 2)
        w->result->caught_up_s = now_s - outage_to_s;
}

static void offer(struct world *w, uint32_t index)
{
    w->clients[index].fresh++;
    second(w)->offered++;
    w->result->offered++;
    push(w, &(struct event){.at_ns = w->now_ns + ns((0.5 + chance(w)) / w->scenario->offered),
                            .client = index,
                            .kind = OFFER});
}

static void end_second(struct world *w, uint32_t at)
{
    struct sim_second *now = &w->result->seconds[at];
    const struct client *first = &w->clients[0];
    now->limit = rate_limit(&first->limiter.rate);
    now->hidden = at_step(w->scenario->backend.limit, at);
    now->in_flight = first->limiter.concurrency.in_flight;
    now->concurrency = concurrency_limit(&first->limiter.concurrency);
    for (uint32_t i = 0; i < w->scenario->clients; i++)
        now->backlog += w->clients[i].fresh + w->clients[i].again;
}

static double quantile(const struct world *w, double share)
{
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < LATENCIES; i++)
        total += w->latencies[i];
    for (int i = 0; i < LATENCIES; i++)
        if ((double)(seen += w->latencies[i]) >= share * (double)total)
            return latency_least_s * pow(latency_step, i + 0.5);
    return 0;
}

static void begin(struct world *w, const struct sim_scenario *scenario, uint64_t seed,
                  struct sim_result *result)
{
    memset(w, 0, sizeof *w);
    memset(result, 0, sizeof *result);
    w->scenario = scenario;
    w->result = result;
    w->random.state = seed * 7919 + 17;
    w->now_ns = w->level_ns = start_ns;
    w->level = scenario->backend.limit[0].value * scenario->backend.window_s;
    result->count = (uint32_t)scenario->seconds;
    result->caught_up_s = result->back_s = -1;
    CHECK(scenario->clients >= 1 && scenario->clients <= SIM_CLIENTS);
    CHECK(result->count > 0 && result->count <= SIM_SECONDS);
    CHECK(scenario->backend.workers <= WORKERS_MAX);
    for (uint32_t i = 0; i < scenario->clients; i++) {
        uint64_t at_ns = start_ns + random_below(&w->random, NS_PER_S);
        limiter_init(&w->clients[i].limiter, &scenario->settings, random_next(&w->random), at_ns);
        push(w, &(struct event){.at_ns = at_ns, .client = i, .kind = greedy(w) ? WAKE : OFFER});
    }
}

void sim_run(const struct sim_scenario *scenario, uint64_t seed, struct sim_result *result)
{
    struct world *w = &world;
    begin(w, scenario, seed, result);
    uint32_t ended = 0;
    while (w->events > 0) {
        struct event event = pop(w);
        while (ended < result->count && event.at_ns >= start_ns + (ended + 1) * NS_PER_S)
            end_second(w, ended++);
        if (ended == result->count)
            break;
        w->now_ns = event.at_ns;
        switch (event.kind) {
        case ARRIVAL:
            arrive(w, &event);
            continue;
        case ANSWER:
            answered(w, &event);
            break;
        case OFFER:
            offer(w, event.client);
            break;
        case WAKE:
            break;
        }
        go_on(w, event.client);
    }
    result->p50_s = quantile(w, 0.5);
    result->p99_s = quantile(w, 0.99);
    result->limiter = w->clients[0].limiter;
}

struct sim_second sim_sum(const struct sim_result *result, uint32_t from, uint32_t to)
{
    struct sim_second sum = {0};
    for (uint32_t i = from; i < to && i < result->count; i++) {
        const struct sim_second *now = &result->seconds[i];
        sum.hidden += now->hidden;
        sum.offered += now->offered;
        sum.sent += now->sent;
        sum.accepted += now->accepted;
        sum.rejected += now->rejected;
        sum.failed += now->failed;
    }
    return sum;
}

double sim_use(const struct sim_result *result, uint32_t from, uint32_t to)
{
    struct sim_second sum = sim_sum(result, from, to);
    return sum.hidden > 0 ? sum.accepted / sum.hidden : 0;
}

double sim_rejected(const struct sim_result *result, uint32_t from, uint32_t to)
{
    struct sim_second sum = sim_sum(result, from, to);
    return sum.sent > 0 ? (double)sum.rejected / sum.sent : 0;
}
