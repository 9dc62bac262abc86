/* SPDX-License-Identifier: Apache-2.0 */
/* Step 9 of 9: from a closed batch to an acknowledged one. A request is in exactly one place: the
 * queue, or a sender's hand (in flight, or waiting for its retry). Leaving either means settling
 * its points in the ledger, so no path can lose one uncounted.
 *
 * Retry-After closes the gate of the whole destination. Answers that a person must cure (401, 403,
 * untrusted certificate) hold it: one request at a time, nothing given up but by overflow. */
#include "exporters/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "exporters/answer.h"
#include "exporters/ledger.h"

static const size_t QUEUE_BYTES_MAX = (size_t)512 << 20; /* whatever queue_size allows */

struct request {
    struct request *next; /* in the queue, towards newer ones */
    uint64_t sequence;    /* age order */
    uint64_t points;
    uint64_t due_ns;
    uint64_t first_ns;      /* start of the first attempt */
    uint64_t wait_until_ns; /* of the next one */
    uint32_t attempts;
    bool ambiguous; /* the last attempt may have arrived without an answer */
    size_t bytes;
    uint8_t body[];
};

struct sender {
    struct outbox *outbox;
    struct http_sender *http;
    struct request *request; /* NULL: idle */
    bool in_flight;
    uint64_t sent_ns;
};

struct outbox {
    const struct request_plan *plan;
    struct telemetry_set *set;
    struct health *health;
    struct compressor *compressor;
    struct random random;
    uint8_t *packed; /* where a body is compressed, before its size is known */
    size_t packed_space;
    struct request *oldest, *newest; /* the queue */
    uint64_t next_sequence;
    uint32_t count; /* queued, waiting and in flight */
    uint32_t in_flight;
    size_t bytes;
    bool held;
    uint64_t gate_ns; /* nothing is sent before */
    uint64_t partial_logged_ns;
    struct sender senders[];
};

bool outbox_create(struct outbox **ret_outbox, struct http *http, const struct request_plan *plan,
                   struct telemetry_set *set, struct health *health, struct error *error)
{
    CHECK(plan->sender_count > 0 && plan->sender_count <= plan->queue_capacity);
    struct outbox *outbox =
        calloc(1, sizeof *outbox + plan->sender_count * sizeof outbox->senders[0]);
    CHECK(outbox != NULL);
    outbox->plan = plan;
    outbox->set = set;
    outbox->health = health;
    random_init(&outbox->random);
    outbox->compressor = compressor_create(plan->compression, plan->compression_level);
    CHECK(outbox->compressor != NULL);
    telemetry_put(set, TELEMETRY_QUEUE_CAPACITY, plan->queue_capacity);
    for (uint32_t i = 0; i < plan->sender_count; i++) {
        outbox->senders[i].outbox = outbox;
        if (!http_sender_create(&outbox->senders[i].http, http, &plan->endpoint, error)) {
            outbox_destroy(&outbox);
            return false;
        }
    }
    *ret_outbox = outbox;
    return true;
}

static void show_gauges(struct outbox *outbox)
{
    telemetry_put(outbox->set, TELEMETRY_QUEUE_BATCHES, outbox->count);
    telemetry_put(outbox->set, TELEMETRY_QUEUE_BYTES, outbox->bytes);
    telemetry_put(outbox->set, TELEMETRY_REQUESTS_IN_FLIGHT, outbox->in_flight);
}

/* The end of a request, whichever way. */
static void settle(struct outbox *outbox, struct request *request, uint64_t dropped,
                   enum telemetry_value reason)
{
    ledger_settle(outbox->set, request->points - dropped, dropped, reason);
    outbox->count--;
    outbox->bytes -= request->bytes;
    show_gauges(outbox);
    free(request);
}

static struct request *queue_take(struct outbox *outbox)
{
    struct request *request = outbox->oldest;
    outbox->oldest = request->next;
    if (outbox->oldest == NULL)
        outbox->newest = NULL;
    request->next = NULL;
    return request;
}

static void queue_put(struct outbox *outbox, struct request *request)
{
    if (outbox->newest == NULL)
        outbox->oldest = request;
    else
        outbox->newest->next = request;
    outbox->newest = request;
}

/* The oldest request that is not on the wire: a sender's that waits, else the queue's first. */
static struct request *take_oldest(struct outbox *outbox)
{
    struct sender *oldest = NULL;
    for (uint32_t i = 0; i < outbox->plan->sender_count; i++) {
        struct sender *sender = &outbox->senders[i];
        if (sender->request == NULL || sender->in_flight)
            continue;
        if (oldest == NULL || sender->request->sequence < oldest->request->sequence)
            oldest = sender;
    }
    if (oldest == NULL ||
        (outbox->oldest != NULL && outbox->oldest->sequence < oldest->request->sequence))
        return queue_take(outbox);
    struct request *request = oldest->request;
    oldest->request = NULL;
    return request;
}

void outbox_push(struct outbox *outbox, const uint8_t *body, size_t body_bytes, uint64_t points,
                 uint64_t due_ns)
{
    size_t bound = compressor_bound(outbox->compressor, body_bytes);
    if (bound > outbox->packed_space) {
        free(outbox->packed);
        outbox->packed = malloc(bound);
        CHECK(outbox->packed != NULL);
        outbox->packed_space = bound;
    }
    uint64_t before_ns = clock_monotonic_ns();
    size_t bytes =
        compressor_run(outbox->compressor, body, body_bytes, outbox->packed, outbox->packed_space);
    telemetry_record(outbox->set, TELEMETRY_HISTOGRAM_COMPRESS, clock_monotonic_ns() - before_ns);
    struct request *request = malloc(sizeof *request + bytes);
    CHECK(request != NULL);
    *request = (struct request){
        .sequence = outbox->next_sequence++, .points = points, .due_ns = due_ns, .bytes = bytes};
    memcpy(request->body, outbox->packed, bytes);
    queue_put(outbox, request);
    outbox->count++;
    outbox->bytes += bytes;
    while ((outbox->count > outbox->plan->queue_capacity || outbox->bytes > QUEUE_BYTES_MAX) &&
           outbox->count > outbox->in_flight) {
        struct request *oldest = take_oldest(outbox);
        settle(outbox, oldest, oldest->points, TELEMETRY_DROPPED_QUEUE_FULL);
    }
    show_gauges(outbox);
}

static void send_request(struct sender *sender, uint64_t now_ns)
{
    struct outbox *outbox = sender->outbox;
    struct request *request = sender->request;
    if (request->attempts++ == 0)
        request->first_ns = now_ns;
    if (request->ambiguous)
        telemetry_add(outbox->set, TELEMETRY_AMBIGUOUS_RESENDS, 1);
    request->ambiguous = false;
    sender->in_flight = true;
    sender->sent_ns = now_ns;
    outbox->in_flight++;
    http_send(sender->http, request->body, request->bytes, sender);
    show_gauges(outbox);
}

uint64_t outbox_step(struct outbox *outbox, uint64_t now_ns)
{
    if (outbox->count == outbox->in_flight)
        return UINT64_MAX;
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < outbox->plan->sender_count; i++) {
        struct sender *sender = &outbox->senders[i];
        if (sender->in_flight)
            continue;
        if (outbox->held && outbox->in_flight > 0)
            return UINT64_MAX; /* its answer decides */
        if (sender->request == NULL && outbox->oldest == NULL)
            continue;
        uint64_t start_ns = sender->request == NULL ? 0 : sender->request->wait_until_ns;
        if (start_ns < outbox->gate_ns)
            start_ns = outbox->gate_ns;
        if (start_ns <= now_ns) {
            if (sender->request == NULL)
                sender->request = queue_take(outbox);
            send_request(sender, now_ns);
        } else if (start_ns < next_ns) {
            next_ns = start_ns;
        }
    }
    return next_ns;
}

static void delivered(struct sender *sender, const struct http_answer *answer, uint64_t now_ns)
{
    struct outbox *outbox = sender->outbox;
    struct request *request = sender->request;
    struct answer_reading reading = answer_read(answer, request->points);
    telemetry_add(outbox->set, TELEMETRY_REQUESTS_OK, 1);
    telemetry_add(outbox->set, TELEMETRY_BYTES_SENT, request->bytes);
    telemetry_record(outbox->set, TELEMETRY_HISTOGRAM_AGE, now_ns - request->due_ns);
    health_good(outbox->health, now_ns);
    bool says = reading.rejected_points > 0 || reading.message[0] != '\0';
    if (says &&
        (outbox->partial_logged_ns == 0 || now_ns - outbox->partial_logged_ns > 60 * NS_PER_S)) {
        outbox->partial_logged_ns = now_ns;
        LOG(LOG_LEVEL_WARN, "exporter", "back end took a batch only in part or with a warning",
            LOG_TEXT("exporter", outbox->health->id),
            LOG_NUMBER("rejected_points", reading.rejected_points),
            LOG_TEXT("reason", reading.message));
    }
    sender->request = NULL;
    settle(outbox, request, reading.rejected_points, TELEMETRY_DROPPED_REJECTED);
}

static void failed(struct sender *sender, const struct http_answer *answer,
                   const struct retry_decision *decision, uint64_t now_ns)
{
    struct outbox *outbox = sender->outbox;
    struct request *request = sender->request;
    char text[512];
    answer_describe(answer, text, sizeof text);
    health_bad(outbox->health, answer->status != 0 ? answer->status : -1 - (int)answer->outcome,
               text, now_ns);
    bool retryable =
        decision->verdict != RETRY_DROP || decision->reason == TELEMETRY_DROPPED_EXPIRED;
    telemetry_add(outbox->set,
                  retryable ? TELEMETRY_REQUESTS_RETRYABLE : TELEMETRY_REQUESTS_PERMANENT, 1);
    if (now_ns + decision->gate_ns > outbox->gate_ns)
        outbox->gate_ns = now_ns + decision->gate_ns;
    if (decision->verdict == RETRY_DROP) {
        sender->request = NULL;
        settle(outbox, request, request->points, decision->reason);
        return;
    }
    request->wait_until_ns = now_ns + decision->wait_ns;
    request->ambiguous = answer->ambiguous;
}

void outbox_answer(void *owner, const struct http_answer *answer, uint64_t now_ns)
{
    struct sender *sender = owner;
    struct outbox *outbox = sender->outbox;
    CHECK(sender->in_flight && sender->request != NULL);
    sender->in_flight = false;
    outbox->in_flight--;
    telemetry_put(outbox->set, TELEMETRY_LAST_STATUS, (uint64_t)answer->status);
    telemetry_record(outbox->set, TELEMETRY_HISTOGRAM_REQUEST, now_ns - sender->sent_ns);
    struct request *request = sender->request;
    struct retry_decision decision =
        retry_decide(&outbox->plan->retry, request->attempts, now_ns - request->first_ns, answer,
                     &outbox->random);
    if (decision.verdict == RETRY_HOLD || answer->outcome == HTTP_ANSWERED)
        outbox->held = decision.verdict == RETRY_HOLD;
    if (decision.verdict == RETRY_DELIVERED)
        delivered(sender, answer, now_ns);
    else
        failed(sender, answer, &decision, now_ns);
    show_gauges(outbox);
}

bool outbox_empty(const struct outbox *outbox)
{
    return outbox->count == 0;
}

uint64_t outbox_hope_ns(const struct outbox *outbox, uint64_t now_ns)
{
    uint64_t hope_ns = UINT64_MAX;
    if (outbox->in_flight > 0)
        return now_ns;
    for (uint32_t i = 0; i < outbox->plan->sender_count; i++) {
        const struct request *request = outbox->senders[i].request;
        if (request != NULL && request->wait_until_ns < hope_ns)
            hope_ns = request->wait_until_ns;
        if (request == NULL && outbox->oldest != NULL)
            hope_ns = 0;
    }
    return hope_ns != UINT64_MAX && hope_ns < outbox->gate_ns ? outbox->gate_ns : hope_ns;
}

void outbox_abandon(struct outbox *outbox)
{
    for (uint32_t i = 0; i < outbox->plan->sender_count; i++) {
        struct sender *sender = &outbox->senders[i];
        http_sender_destroy(&sender->http);
        outbox->in_flight -= sender->in_flight;
        sender->in_flight = false;
        struct request *request = sender->request;
        sender->request = NULL;
        if (request != NULL)
            settle(outbox, request, request->points, TELEMETRY_DROPPED_STOP);
    }
    while (outbox->oldest != NULL) {
        struct request *request = queue_take(outbox);
        settle(outbox, request, request->points, TELEMETRY_DROPPED_STOP);
    }
    CHECK(outbox->count == 0 && outbox->in_flight == 0);
}

void outbox_destroy(struct outbox **ret_outbox)
{
    struct outbox *outbox = *ret_outbox;
    if (outbox == NULL)
        return;
    outbox_abandon(outbox);
    compressor_destroy(&outbox->compressor);
    free(outbox->packed);
    free(outbox);
    *ret_outbox = NULL;
}
