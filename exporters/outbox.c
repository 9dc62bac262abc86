/* SPDX-License-Identifier: Apache-2.0 */
/* Step 9 of 9: from a closed batch to an acknowledged one. Batches wait in the store (memory and
 * disk); a sender takes one when the limiter lets one more request go, and gives it back or settles
 * it when the answer is there. Leaving the store means a sender's hand, leaving that means the
 * store or the ledger, so no path can lose a batch uncounted.
 *
 * What may be sent when is the limiter's alone (control/limiter.h); what an answer means is
 * retry.c's; this file only carries things between them and libcurl. */
#include "exporters/outbox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/answer.h"
#include "exporters/ledger.h"
#include "exporters/store.h"

enum {
    PARTS_MAX = 24, /* halves of a too large body that wait for their turn */
    SPLITS_MAX = 6, /* 413 to a 64th of a batch is no question of size any more */
    BODY_BYTES_MAX = 64 << 20,
};
static const uint64_t PUBLISH_NS = NS_PER_S / 4;
static const uint64_t ANSWER_NS = 2 * NS_PER_S; /* left to answers before a stop */
static const uint64_t PARTIAL_LOG_NS = 60 * NS_PER_S;

struct sender {
    struct outbox *outbox;
    struct http_sender *http;
    struct queued *item; /* NULL: idle */
    uint64_t sent_ns;
};

struct outbox {
    struct outbox_options options;
    const struct request_plan *plan;
    struct telemetry_set *set;
    struct store *store;
    struct limiter limiter;
    uint64_t changes_said; /* of limiter.change_count */
    struct compressor *compressor;
    struct random random;
    uint8_t *packed; /* where a body is compressed, before its size is known */
    size_t packed_space;
    uint32_t in_flight, concurrency_max;
    uint64_t partial_logged_ns, published_ns;
    pthread_mutex_t lock;
    struct outbox_status shown; /* under the lock; written on changes and now and then */
    uint64_t last_ns;           /* of sending what is on disk; UINT64_MAX: not stopping */
    bool closed;
    struct sender senders[];
};

/* ---- making ---- */

bool outbox_create(struct outbox **ret_outbox, const struct outbox_options *options,
                   struct error *error)
{
    const struct request_plan *plan = options->plan;
    CHECK(plan->sender_count > 0 && plan->sender_count <= plan->queue_capacity);
    struct outbox *outbox =
        xcalloc(1, sizeof *outbox + plan->sender_count * sizeof outbox->senders[0]);
    outbox->options = *options;
    outbox->plan = plan;
    outbox->set = options->set;
    outbox->concurrency_max = plan->sender_count;
    outbox->last_ns = UINT64_MAX;
    CHECK(pthread_mutex_init(&outbox->lock, NULL) == 0);
    random_init(&outbox->random);
    limiter_init(&outbox->limiter, &plan->limiter, random_next(&outbox->random),
                 clock_monotonic_ns());
    outbox->compressor = compressor_create(plan->compression, plan->compression_level);
    CHECK(outbox->compressor != NULL);
    for (uint32_t i = 0; i < plan->sender_count; i++) {
        outbox->senders[i].outbox = outbox;
        if (!http_sender_create(&outbox->senders[i].http, options->http, &plan->endpoint, error))
            goto fail;
    }
    const struct store_options store = {.id = options->id,
                                        .plan = plan,
                                        .set = options->set,
                                        .wake_fd = options->wake_fd,
                                        .spool_directory = options->spool_directory};
    if (!store_create(&outbox->store, &store, error))
        goto fail;
    *ret_outbox = outbox;
    return true;
fail:
    outbox_destroy(&outbox);
    return false;
}

/* ---- what it shows ---- */

static void publish(struct outbox *outbox, uint64_t now_ns)
{
    const struct limiter *limiter = &outbox->limiter;
    struct limiter_view view;
    limiter_look(limiter, now_ns, &view);
    outbox->published_ns = now_ns;
    telemetry_put(outbox->set, TELEMETRY_RATE_LIMIT, (uint64_t)llround(view.rate_limit));
    telemetry_put(outbox->set, TELEMETRY_RATE_UTILISATION,
                  (uint64_t)llround(100 * view.utilisation));
    telemetry_put(outbox->set, TELEMETRY_CONCURRENCY_LIMIT, view.concurrency_limit);
    telemetry_put(outbox->set, TELEMETRY_GATED, view.gate_until_ns > now_ns);
    telemetry_put(outbox->set, TELEMETRY_LIMIT_CHANGES, limiter->change_count);
    telemetry_put(outbox->set, TELEMETRY_BREAKER_TRIPS, view.trips);
    telemetry_put(outbox->set, TELEMETRY_BREAKER_OPEN_MS, view.away_ns / NS_PER_MS);
    telemetry_begin(outbox->set);
    telemetry_put(outbox->set, TELEMETRY_BREAKER_CLOSED_NOW, view.breaker == BREAKER_CLOSED);
    telemetry_put(outbox->set, TELEMETRY_BREAKER_OPEN_NOW, view.breaker == BREAKER_OPEN);
    telemetry_put(outbox->set, TELEMETRY_BREAKER_HALF_OPEN_NOW, view.breaker == BREAKER_HALF_OPEN);
    telemetry_end(outbox->set);
    CHECK(pthread_mutex_lock(&outbox->lock) == 0);
    struct outbox_status *shown = &outbox->shown;
    shown->rate_limit = view.rate_limit;
    shown->rate = view.rate_measured;
    shown->utilisation = view.utilisation;
    shown->concurrency = view.concurrency_limit;
    shown->concurrency_max = outbox->concurrency_max;
    shown->in_flight = outbox->in_flight;
    shown->breaker = view.breaker_name;
    shown->gate_until_ns = view.gate_until_ns;
    shown->open_until_ns = view.open_until_ns;
    shown->change_count = limiter->change_count;
    shown->changes_held = 0;
    uint64_t held =
        limiter->change_count < LIMITER_CHANGES ? limiter->change_count : LIMITER_CHANGES;
    for (uint64_t i = limiter->change_count - held; i < limiter->change_count; i++)
        shown->changes[shown->changes_held++] = limiter->changes[i % LIMITER_CHANGES];
    shown->has_spool = store_spool_status(outbox->store, &shown->spool);
    CHECK(pthread_mutex_unlock(&outbox->lock) == 0);
}

void outbox_read_status(const struct outbox *outbox, struct outbox_status *ret_status)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&outbox->lock;
    CHECK(pthread_mutex_lock(lock) == 0);
    *ret_status = outbox->shown;
    CHECK(pthread_mutex_unlock(lock) == 0);
}

static void breaker_changed(struct outbox *outbox, const struct limiter_change *change)
{
    bool closed = (int)change->to == BREAKER_CLOSED;
    if (closed)
        store_hurry(outbox->store);
    /* Every probe opens it again: only the first time and the end are news. */
    bool news = closed || (int)change->from == BREAKER_CLOSED;
    LOG(news ? (closed ? LOG_LEVEL_INFO : LOG_LEVEL_WARN) : LOG_LEVEL_DEBUG, "limiter",
        closed ? "circuit breaker closed" : "circuit breaker open: only probes are sent",
        LOG_TEXT("exporter", outbox->options.id), LOG_TEXT("reason", change->reason));
}

static void say_changes(struct outbox *outbox, uint64_t now_ns)
{
    const struct limiter *limiter = &outbox->limiter;
    if (limiter->change_count == outbox->changes_said)
        return;
    uint64_t first = outbox->changes_said;
    if (limiter->change_count - first > LIMITER_CHANGES)
        first = limiter->change_count - LIMITER_CHANGES;
    outbox->changes_said = limiter->change_count;
    for (uint64_t i = first; i < limiter->change_count; i++) {
        const struct limiter_change *change = &limiter->changes[i % LIMITER_CHANGES];
        if (strcmp(change->what, "breaker") == 0) {
            breaker_changed(outbox, change);
            continue;
        }
        bool routine = strcmp(change->what, "concurrency") == 0;
        char from[32], to[32];
        snprintf(from, sizeof from, "%.4g", change->from);
        snprintf(to, sizeof to, "%.4g", change->to);
        LOG(routine ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "limiter", "limit changed",
            LOG_TEXT("exporter", outbox->options.id), LOG_TEXT("limit", change->what),
            LOG_TEXT("from", from), LOG_TEXT("to", to), LOG_TEXT("reason", change->reason));
    }
    publish(outbox, now_ns);
}

/* ---- batches come ---- */

static size_t pack(struct outbox *outbox, const uint8_t *body, size_t body_bytes)
{
    size_t bound = compressor_bound(outbox->compressor, body_bytes);
    if (bound > outbox->packed_space) {
        free(outbox->packed);
        outbox->packed = xmalloc(bound);
        outbox->packed_space = bound;
    }
    uint64_t before_ns = clock_monotonic_ns();
    size_t bytes =
        compressor_run(outbox->compressor, body, body_bytes, outbox->packed, outbox->packed_space);
    telemetry_record(outbox->set, TELEMETRY_HISTOGRAM_COMPRESS, clock_monotonic_ns() - before_ns);
    return bytes;
}

/* What pack() made, as a parcel; NULL: out of memory. */
static struct parcel *wrap(struct outbox *outbox, size_t bytes, uint64_t points, uint64_t due_ns)
{
    CHECK(bytes <= UINT32_MAX && points <= UINT32_MAX);
    struct parcel *parcel = parcel_create((uint32_t)bytes);
    if (parcel == NULL)
        return NULL;
    uint64_t wall_ns = clock_wall_ns(), now_ns = clock_monotonic_ns();
    parcel->points = (uint32_t)points;
    parcel->created_ns = wall_ns;
    parcel->due_ns = now_ns > due_ns ? wall_ns - (now_ns - due_ns) : wall_ns;
    parcel->encoding = parcel_encoding(outbox->plan->compression, outbox->options.format);
    memcpy(parcel->body, outbox->packed, bytes);
    return parcel;
}

/* What pack() made goes into the store. */
static void keep(struct outbox *outbox, size_t bytes, uint64_t points, uint64_t due_ns)
{
    if (outbox->plan->body_bytes_max > 0 && bytes > outbox->plan->body_bytes_max) {
        ledger_settle(outbox->set, 0, points, TELEMETRY_DROPPED_TOO_LARGE);
        return;
    }
    struct parcel *parcel = wrap(outbox, bytes, points, due_ns);
    if (parcel == NULL)
        ledger_settle(outbox->set, 0, points, TELEMETRY_DROPPED_NO_MEMORY);
    else
        store_add(outbox->store, parcel, due_ns);
}

/* Both halves of a body, in memory of their own; false where it cannot be cut. */
static bool halve(const struct outbox *outbox, const uint8_t *body, size_t bytes,
                  struct otlp_part halves[2])
{
    if (outbox->plan->split == NULL)
        return false;
    halves[0].body = malloc(bytes);
    halves[1].body = malloc(bytes);
    if (halves[0].body != NULL && halves[1].body != NULL &&
        outbox->plan->split(body, bytes, halves))
        return true;
    free(halves[0].body);
    free(halves[1].body);
    return false;
}

void outbox_push(struct outbox *outbox, const uint8_t *body, size_t body_bytes, uint64_t points,
                 uint64_t due_ns)
{
    /* Halves of a body that would be too large wait here for their turn. */
    struct otlp_part parts[PARTS_MAX] = {{(uint8_t *)(uintptr_t)body, body_bytes, points}};
    uint64_t most = outbox->plan->body_bytes_max;
    uint32_t count = 1;
    while (count > 0) {
        struct otlp_part part = parts[--count];
        size_t packed = pack(outbox, part.body, part.bytes);
        if (most > 0 && packed > most && count + 2 <= PARTS_MAX &&
            halve(outbox, part.body, part.bytes, &parts[count])) {
            struct otlp_part newer = parts[count + 1]; /* the older half first */
            parts[count + 1] = parts[count];
            parts[count] = newer;
            count += 2;
            telemetry_add(outbox->set, TELEMETRY_BODIES_SPLIT, 1);
        } else {
            keep(outbox, packed, part.points, due_ns);
        }
        if (part.body != body)
            free(part.body);
    }
}

/* ---- requests go ---- */

static const char *content_type(uint32_t encoding)
{
    return parcel_format(encoding) == BODY_JSON ? "application/json" : "application/x-protobuf";
}

static void send_item(struct sender *sender, struct queued *item, uint64_t now_ns)
{
    struct outbox *outbox = sender->outbox;
    const struct parcel *parcel = item->parcel;
    limiter_sent(&outbox->limiter, item->attempts > 0, parcel->points, now_ns);
    store_take(outbox->store, item);
    if (item->attempts++ == 0)
        item->first_ns = now_ns;
    if (item->ambiguous)
        telemetry_add(outbox->set, TELEMETRY_AMBIGUOUS_RESENDS, 1);
    item->ambiguous = false;
    sender->item = item;
    sender->sent_ns = now_ns;
    outbox->in_flight++;
    telemetry_put(outbox->set, TELEMETRY_REQUESTS_IN_FLIGHT, outbox->in_flight);
    const struct http_body body = {.bytes = parcel->body,
                                   .size = parcel->bytes,
                                   .content_type = content_type(parcel->encoding),
                                   .content_encoding = compression_name(
                                       (enum compression)parcel_compression(parcel->encoding))};
    http_send(sender->http, &body, sender);
}

/* The next batch, and when it may leave. A retry that the budget holds back does not hold back what
 * was never sent. */
static struct queued *choose(struct outbox *outbox, uint64_t now_ns, uint64_t *ret_ready_ns)
{
    struct limiter *limiter = &outbox->limiter;
    bool probe = limiter->breaker.state != BREAKER_CLOSED; /* what leaves next is one */
    struct queued *item = store_next(outbox->store, probe, now_ns, ret_ready_ns);
    if (item == NULL)
        return NULL;
    *ret_ready_ns = limiter_ready_ns(limiter, item->attempts > 0, item->parcel->points, now_ns);
    if (*ret_ready_ns <= now_ns || item->attempts == 0 || probe)
        return item;
    struct queued *fresh = store_fresh(outbox->store);
    if (fresh == NULL)
        return item;
    uint64_t fresh_ns = limiter_ready_ns(limiter, false, fresh->parcel->points, now_ns);
    if (fresh_ns >= *ret_ready_ns)
        return item;
    *ret_ready_ns = fresh_ns;
    return fresh;
}

static bool expired(const struct outbox *outbox, const struct queued *item)
{
    uint64_t wall_ns = clock_wall_ns();
    return outbox->plan->spool.age_ns > 0 &&
           wall_ns > item->parcel->created_ns + outbox->plan->spool.age_ns;
}

static struct sender *idle_sender(struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->plan->sender_count; i++)
        if (outbox->senders[i].item == NULL)
            return &outbox->senders[i];
    return NULL;
}

uint64_t outbox_step(struct outbox *outbox, uint64_t now_ns)
{
    uint64_t next_ns = store_step(outbox->store, now_ns), ready_ns = UINT64_MAX;
    struct sender *sender;
    while (outbox->in_flight < outbox->concurrency_max && (sender = idle_sender(outbox)) != NULL) {
        struct queued *item = choose(outbox, now_ns, &ready_ns);
        if (item == NULL || ready_ns > now_ns)
            break;
        if (item->put && now_ns >= outbox->last_ns) {
            ready_ns = UINT64_MAX;
            break;
        }
        if (expired(outbox, item)) {
            store_take(outbox->store, item);
            store_settle(outbox->store, item, item->parcel->points, TELEMETRY_DROPPED_TOO_OLD);
            continue;
        }
        send_item(sender, item, now_ns);
        ready_ns = UINT64_MAX;
    }
    say_changes(outbox, now_ns);
    if (now_ns - outbox->published_ns >= PUBLISH_NS)
        publish(outbox, now_ns);
    return ready_ns < next_ns ? ready_ns : next_ns;
}

/* ---- answers come ---- */

static uint64_t age_ns(const struct queued *item, uint64_t now_ns)
{
    if (item->due_ns != 0)
        return now_ns > item->due_ns ? now_ns - item->due_ns : 0;
    uint64_t wall_ns = clock_wall_ns();
    return wall_ns > item->parcel->due_ns ? wall_ns - item->parcel->due_ns : 0;
}

static void delivered(struct outbox *outbox, struct queued *item, const struct http_answer *answer,
                      uint64_t now_ns)
{
    struct answer_reading reading = answer_read(answer, item->parcel->points);
    telemetry_add(outbox->set, TELEMETRY_REQUESTS_OK, 1);
    telemetry_add(outbox->set, TELEMETRY_BYTES_SENT, item->parcel->bytes);
    telemetry_record(outbox->set, TELEMETRY_HISTOGRAM_AGE, age_ns(item, now_ns));
    health_good(outbox->options.health, now_ns);
    bool says = reading.rejected_points > 0 || reading.message[0] != '\0';
    if (says &&
        (outbox->partial_logged_ns == 0 || now_ns - outbox->partial_logged_ns > PARTIAL_LOG_NS)) {
        outbox->partial_logged_ns = now_ns;
        LOG(LOG_LEVEL_WARN, "exporter", "back end took a batch only in part or with a warning",
            LOG_TEXT("exporter", outbox->options.id),
            LOG_NUMBER("rejected_points", reading.rejected_points),
            LOG_TEXT("reason", reading.message));
    }
    store_settle(outbox->store, item, reading.rejected_points, TELEMETRY_DROPPED_REJECTED);
}

/* 413: the batch in two. False where it cannot be cut. */
static bool split(struct outbox *outbox, struct queued *item)
{
    const struct parcel *parcel = item->parcel;
    struct otlp_part halves[2];
    struct parcel *parts[2] = {NULL, NULL};
    size_t bytes = 0;
    if (parcel->points < 2 || item->splits >= SPLITS_MAX ||
        parcel_format(parcel->encoding) != (uint32_t)outbox->options.format)
        return false;
    uint8_t *body = decompress((enum compression)parcel_compression(parcel->encoding), parcel->body,
                               parcel->bytes, BODY_BYTES_MAX, &bytes);
    bool cut = body != NULL && halve(outbox, body, bytes, halves);
    free(body);
    if (!cut)
        return false;
    for (int i = 0; i < 2; i++) {
        size_t packed = pack(outbox, halves[i].body, halves[i].bytes);
        parts[i] = wrap(outbox, packed, halves[i].points, 0);
        free(halves[i].body);
        if (parts[i] == NULL)
            continue;
        parts[i]->created_ns = parcel->created_ns;
        parts[i]->due_ns = parcel->due_ns;
    }
    cut = parts[0] != NULL && parts[1] != NULL &&
          (uint64_t)parts[0]->points + parts[1]->points == parcel->points;
    if (cut) {
        telemetry_add(outbox->set, TELEMETRY_BODIES_SPLIT, 1);
        store_replace(outbox->store, item, parts);
    } else {
        parcel_release(&parts[0]);
        parcel_release(&parts[1]);
    }
    return cut;
}

static void failed(struct outbox *outbox, struct queued *item, const struct http_answer *answer,
                   const struct retry_decision *decision, uint64_t now_ns)
{
    char text[512];
    answer_describe(answer, text, sizeof text);
    bool retryable = decision->verdict == RETRY_AGAIN || decision->verdict == RETRY_HOLD ||
                     decision->reason == TELEMETRY_DROPPED_EXPIRED;
    telemetry_add(outbox->set,
                  retryable ? TELEMETRY_REQUESTS_RETRYABLE : TELEMETRY_REQUESTS_PERMANENT, 1);
    if (decision->verdict == RETRY_SPLIT && split(outbox, item))
        return;
    health_bad(outbox->options.health,
               answer->status != 0 ? answer->status : -1 - (int)answer->outcome, text, now_ns);
    if (decision->verdict == RETRY_DROP || decision->verdict == RETRY_SPLIT) {
        store_settle(outbox->store, item, item->parcel->points, decision->reason);
        return;
    }
    item->wait_until_ns = now_ns + decision->wait_ns;
    item->ambiguous = answer->ambiguous;
    store_return(outbox->store, item);
}

void outbox_answer(void *owner, const struct http_answer *answer, uint64_t now_ns)
{
    struct sender *sender = owner;
    struct outbox *outbox = sender->outbox;
    struct queued *item = sender->item;
    CHECK(item != NULL);
    sender->item = NULL;
    outbox->in_flight--;
    telemetry_put(outbox->set, TELEMETRY_REQUESTS_IN_FLIGHT, outbox->in_flight);
    telemetry_put(outbox->set, TELEMETRY_LAST_STATUS, (uint64_t)answer->status);
    telemetry_record(outbox->set, TELEMETRY_HISTOGRAM_REQUEST, now_ns - sender->sent_ns);
    struct retry_decision decision = retry_decide(&outbox->plan->retry, item->attempts,
                                                  now_ns - item->first_ns, answer, &outbox->random);
    const struct limiter_answer said = {.result = decision.result,
                                        .sent_ns = sender->sent_ns,
                                        .retry_after_ns = answer->retry_after_ns};
    limiter_answered(&outbox->limiter, &said, now_ns);
    telemetry_add(outbox->set, TELEMETRY_THROTTLED, decision.result == LIMITER_THROTTLED);
    if (decision.verdict == RETRY_DELIVERED)
        delivered(outbox, item, answer, now_ns);
    else
        failed(outbox, item, answer, &decision, now_ns);
    say_changes(outbox, now_ns);
}

/* ---- control ---- */

double outbox_fill(const struct outbox *outbox)
{
    return store_fill(outbox->store);
}

void outbox_set_concurrency_max(struct outbox *outbox, uint32_t requests)
{
    CHECK(requests > 0);
    outbox->concurrency_max =
        requests < outbox->plan->sender_count ? requests : outbox->plan->sender_count;
}

void outbox_set_compression_level(struct outbox *outbox, int level)
{
    compressor_destroy(&outbox->compressor);
    outbox->compressor = compressor_create(outbox->plan->compression, level);
    CHECK(outbox->compressor != NULL);
}

/* ---- the end ---- */

void outbox_stopping(struct outbox *outbox, uint64_t stop_ns, uint64_t now_ns)
{
    uint64_t left_ns = stop_ns > now_ns ? stop_ns - now_ns : 0;
    outbox->last_ns = stop_ns - (left_ns / 4 < ANSWER_NS ? left_ns / 4 : ANSWER_NS);
}

uint64_t outbox_hope_ns(struct outbox *outbox, uint64_t now_ns)
{
    if (outbox->in_flight > 0)
        return now_ns;
    bool probe = outbox->limiter.breaker.state != BREAKER_CLOSED;
    uint64_t next_ns;
    const struct queued *item = store_next(outbox->store, probe, now_ns, &next_ns);
    if (item != NULL)
        next_ns =
            limiter_ready_ns(&outbox->limiter, item->attempts > 0, item->parcel->points, now_ns);
    bool over = next_ns > now_ns || now_ns >= outbox->last_ns;
    return over && store_safe(outbox->store) ? UINT64_MAX : next_ns;
}

bool outbox_close(struct outbox *outbox)
{
    if (outbox->closed)
        return true;
    outbox->closed = true;
    for (uint32_t i = 0; i < outbox->plan->sender_count; i++) {
        struct sender *sender = &outbox->senders[i];
        http_sender_destroy(&sender->http);
        if (sender->item == NULL)
            continue;
        limiter_forget(&outbox->limiter);
        store_return(outbox->store, sender->item);
        sender->item = NULL;
        outbox->in_flight--;
    }
    CHECK(outbox->in_flight == 0);
    telemetry_put(outbox->set, TELEMETRY_REQUESTS_IN_FLIGHT, 0);
    return outbox->store == NULL || store_close(outbox->store);
}

void outbox_destroy(struct outbox **ret_outbox)
{
    struct outbox *outbox = *ret_outbox;
    if (outbox == NULL)
        return;
    outbox_close(outbox);
    store_destroy(&outbox->store);
    compressor_destroy(&outbox->compressor);
    free(outbox->packed);
    pthread_mutex_destroy(&outbox->lock);
    free(outbox);
    *ret_outbox = NULL;
}
