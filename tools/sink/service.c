/* SPDX-License-Identifier: Apache-2.0 */
/* A request meets, in this order: the phase's limits (a request over one of them takes nothing from
 * the others), the fault that was chosen when its head came, the workers, and the answers in turn.
 *
 * Workers need no events: the queue is first come, first served, so when a request begins and ends
 * is known when it arrives, from when each worker will be free.
 *
 * What is used of a limit outlasts the phase, so that a limit that changes goes on from there. */
#include "tools/sink/service.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "tools/sink/quota.h"

enum {
    SLOTS_PER_S = 10, /* of the peak rate's sliding second */
    QUOTAS_MAX = 64,
    WORKERS_MAX = 4096,
    REST_UNKNOWN_S = 1, /* when a place will be free is not known */
};

enum amount { AMOUNT_REQUESTS, AMOUNT_POINTS, AMOUNT_BYTES };

struct kept_quota {
    enum amount amount;
    bool bucket;
    uint64_t per_ns;
    struct quota quota;
};

/* Counters of a phase that the script's turn-taking needs. */
struct phase_turns {
    uint32_t answer, retry;
    uint32_t full_retry;
    uint32_t limit_retry[SCRIPT_LIMITS_MAX], fault_retry[SCRIPT_FAULTS_MAX];
    uint64_t fault_met[SCRIPT_FAULTS_MAX]; /* requests it could have applied to */
};

struct service {
    struct script *script;
    struct script **old_scripts; /* requests may still refer to them */
    size_t old_count;
    uint32_t generation; /* of the script */
    struct random random;
    uint32_t current;
    bool running;              /* the first phase has begun */
    uint64_t zero_ns;          /* of the script's time */
    uint64_t begun_ns, end_ns; /* of the phase */
    uint64_t in_flight, admitted;
    uint64_t workers[WORKERS_MAX]; /* when each is free */
    struct kept_quota quotas[QUOTAS_MAX];
    uint32_t quota_count;
    uint64_t slot; /* of the rate */
    uint32_t slots[SLOTS_PER_S];
    struct service_stats *stats;
    struct phase_turns *turns;
};

static void enter_phase(struct service *service, uint32_t index, uint64_t now_ns)
{
    const struct script_phase *phase = &service->script->phases[index];
    service->current = index;
    service->begun_ns = now_ns;
    service->end_ns = phase->for_ns == 0 ? UINT64_MAX : now_ns + phase->for_ns;
    service->stats[index].entered++;
    memset(service->workers, 0, sizeof service->workers);
    memset(service->slots, 0, sizeof service->slots);
}

static void set_script(struct service *service, struct script *script, uint64_t now_ns)
{
    CHECK(script->phase_count > 0);
    service->script = script;
    service->random.state = (uint64_t)script->seed;
    free(service->stats);
    free(service->turns);
    service->stats = xcalloc(script->phase_count, sizeof service->stats[0]);
    service->turns = xcalloc(script->phase_count, sizeof service->turns[0]);
    enter_phase(service, 0, now_ns);
    service->zero_ns = now_ns;
    service->running = script->begin == BEGIN_START;
    service->admitted = 0;
    service->quota_count = 0;
}

struct service *service_create(struct script *script, uint64_t now_ns)
{
    struct service *service = xcalloc(1, sizeof *service);
    set_script(service, script, now_ns);
    return service;
}

void service_replace(struct service *service, struct script *script, uint64_t now_ns)
{
    service->old_scripts =
        reallocarray(service->old_scripts, service->old_count + 1, sizeof(struct script *));
    CHECK(service->old_scripts != NULL);
    service->old_scripts[service->old_count++] = service->script;
    service->generation++;
    set_script(service, script, now_ns);
}

void service_destroy(struct service **ret_service)
{
    struct service *service = *ret_service;
    if (service == NULL)
        return;
    script_destroy(&service->script);
    for (size_t i = 0; i < service->old_count; i++)
        script_destroy(&service->old_scripts[i]);
    free(service->old_scripts);
    free(service->stats);
    free(service->turns);
    free(service);
    *ret_service = NULL;
}

bool service_turn(struct service *service, uint64_t now_ns)
{
    bool entered = false;
    while (service->running && now_ns >= service->end_ns) {
        uint64_t end_ns = service->end_ns;
        uint32_t next = service->current + 1;
        if (next == service->script->phase_count && !service->script->repeat) {
            service->end_ns = UINT64_MAX; /* the last phase has an end, but nothing comes after */
            break;
        }
        if (end_ns > service->begun_ns)
            service->stats[service->current].ns += end_ns - service->begun_ns;
        enter_phase(service, next < service->script->phase_count ? next : 0, end_ns);
        entered = true;
    }
    return entered;
}

uint64_t service_next_ns(const struct service *service)
{
    return service->running ? service->end_ns : UINT64_MAX;
}

const struct script_phase *service_phase(const struct service *service)
{
    return &service->script->phases[service->current];
}

const struct script *service_script(const struct service *service)
{
    return service->script;
}

uint32_t service_current(const struct service *service)
{
    return service->current;
}

const struct service_stats *service_stats(struct service *service, uint32_t phase, uint64_t now_ns)
{
    if (phase == service->current && service->running && now_ns > service->begun_ns) {
        service->stats[phase].ns += now_ns - service->begun_ns;
        service->begun_ns = now_ns;
    }
    return &service->stats[phase];
}

/* -- a request's head -- */

static void count_rate(struct service *service, struct service_stats *stats, uint64_t now_ns)
{
    uint64_t slot = now_ns / (NS_PER_S / SLOTS_PER_S), sum = 0;
    uint64_t passed = slot - service->slot;
    for (uint64_t i = 1; i <= passed && i <= SLOTS_PER_S; i++)
        service->slots[(service->slot + i) % SLOTS_PER_S] = 0;
    service->slot = slot;
    service->slots[slot % SLOTS_PER_S]++;
    for (int i = 0; i < SLOTS_PER_S; i++)
        sum += service->slots[i];
    if (sum > stats->peak_per_s)
        stats->peak_per_s = sum;
}

/* A number in [0, 1). */
static double draw(struct service *service)
{
    return (double)(random_next(&service->random) >> 11) / (double)(1ull << 53);
}

static bool fault_applies(struct service *service, const struct script_fault *fault, uint64_t *met,
                          const struct service_head *head)
{
    if ((fault->on == ON_FRESH && head->reused) || (fault->on == ON_REUSED && !head->reused) ||
        head->body_bytes < (uint64_t)fault->larger_than + (fault->larger_than > 0))
        return false;
    uint64_t number = (*met)++;
    if (number < (uint64_t)fault->after)
        return false;
    number -= (uint64_t)fault->after;
    if (fault->first > 0 && number >= (uint64_t)fault->first)
        return false;
    if (number % (uint64_t)fault->every != 0)
        return false;
    return fault->share >= 1 || draw(service) < fault->share;
}

static void choose_fault(struct service *service, struct service_request *request,
                         const struct service_head *head)
{
    const struct script_phase *phase = &service->script->phases[request->phase];
    struct phase_turns *turns = &service->turns[request->phase];
    for (size_t i = 0; i < phase->fault_count; i++) {
        if (!fault_applies(service, &phase->faults[i], &turns->fault_met[i], head))
            continue;
        request->fault = &phase->faults[i];
        service->stats[request->phase].fault_hits[i]++;
        return;
    }
}

void service_begin(struct service *service, struct service_request *request,
                   const struct service_head *head)
{
    if (!service->running) {
        service->running = true;
        service->zero_ns = head->now_ns;
        enter_phase(service, 0, head->now_ns);
        service->stats[0].entered = 1;
    }
    struct service_stats *stats = &service->stats[service->current];
    *request = (struct service_request){
        .phase = service->current, .generation = service->generation, .open = true};
    stats->requests++;
    service->in_flight++;
    if (service->in_flight > stats->peak_concurrency)
        stats->peak_concurrency = service->in_flight;
    count_rate(service, stats, head->now_ns);
    choose_fault(service, request, head);
}

/* -- its whole body -- */

static void set_retry(struct service_verdict *verdict, const struct text_list *texts,
                      const struct retry_form *forms, uint32_t *turn, uint64_t wall_ns,
                      uint64_t rest_ns)
{
    if (texts->count == 0)
        return;
    const struct retry_form *form = &forms[(*turn)++ % texts->count];
    verdict->has_retry_after = retry_form_write(form, wall_ns, rest_ns, verdict->retry_after);
}

static struct quota *quota_of(struct service *service, enum amount amount,
                              const struct quota_limit *limit)
{
    for (uint32_t i = 0; i < service->quota_count; i++) {
        struct kept_quota *kept = &service->quotas[i];
        if (kept->amount == amount && kept->bucket == limit->bucket &&
            kept->per_ns == limit->per_ns)
            return &kept->quota;
    }
    uint32_t index = service->quota_count < QUOTAS_MAX ? service->quota_count++ : QUOTAS_MAX - 1;
    service->quotas[index] = (struct kept_quota){amount, limit->bucket, limit->per_ns, {0}};
    return &service->quotas[index].quota;
}

struct checked_limit {
    struct quota *quota; /* NULL: of concurrency */
    double amount;
};

/* Whether the limit allows the request; when not, *ret_rest_ns is until it may. */
static bool limit_allows(struct service *service, const struct script_limit *limit,
                         const struct service_body *body, struct checked_limit *ret_checked,
                         uint64_t *ret_rest_ns)
{
    enum amount kind = limit->points > 0  ? AMOUNT_POINTS
                       : limit->bytes > 0 ? AMOUNT_BYTES
                                          : AMOUNT_REQUESTS;
    struct quota_limit quota = {limit->requests + limit->points + limit->bytes, limit->per_ns,
                                limit->window == WINDOW_BUCKET, limit->burst};
    *ret_checked = (struct checked_limit){0};
    *ret_rest_ns = REST_UNKNOWN_S * NS_PER_S;
    if (limit->concurrency > 0)
        return service->in_flight <= (uint64_t)limit->concurrency;
    ret_checked->amount = kind == AMOUNT_POINTS  ? (double)body->points
                          : kind == AMOUNT_BYTES ? (double)body->bytes
                                                 : 1;
    ret_checked->quota = quota_of(service, kind, &quota);
    return quota_allows(ret_checked->quota, &quota, ret_checked->amount,
                        body->now_ns - service->zero_ns, ret_rest_ns);
}

static void refuse(struct service_verdict *verdict, const struct script_refusal *refusal,
                   uint32_t *turn, uint64_t wall_ns, uint64_t rest_ns)
{
    verdict->status = (int)refusal->status;
    set_retry(verdict, &refusal->retry_texts, refusal->retry, turn, wall_ns, rest_ns);
}

/* False: over a limit, and refused. */
static bool pass_limits(struct service *service, struct service_request *request,
                        const struct service_body *body, struct service_verdict *verdict)
{
    const struct script_phase *phase = &service->script->phases[request->phase];
    struct checked_limit checked[SCRIPT_LIMITS_MAX];
    for (size_t i = 0; i < phase->limit_count; i++) {
        uint64_t rest_ns;
        if (limit_allows(service, &phase->limits[i], body, &checked[i], &rest_ns))
            continue;
        struct service_stats *stats = &service->stats[request->phase];
        stats->over_limit++;
        stats->limit_hits[i]++;
        verdict->over_limit = true;
        refuse(verdict, &phase->limits[i].refusal, &service->turns[request->phase].limit_retry[i],
               body->wall_ns, rest_ns);
        return false;
    }
    for (size_t i = 0; i < phase->limit_count; i++)
        if (checked[i].quota != NULL)
            quota_take(checked[i].quota, checked[i].amount);
    return true;
}

/* False: the queue is full. Otherwise how long it takes. */
static bool pass_workers(struct service *service, struct service_request *request,
                         const struct service_body *body, struct service_verdict *verdict)
{
    const struct script_phase *phase = &service->script->phases[request->phase];
    struct service_stats *stats = &service->stats[request->phase];
    uint64_t takes_ns = latency_draw(&phase->latency, &service->random);
    verdict->delay_ns = takes_ns;
    if (phase->workers == 0)
        return true;
    int64_t first = 0;
    for (int64_t i = 1; i < phase->workers; i++)
        if (service->workers[i] < service->workers[first])
            first = i;
    uint64_t start_ns = service->workers[first];
    if (start_ns <= body->now_ns) {
        start_ns = body->now_ns;
    } else {
        int64_t waiting = (int64_t)service->admitted - phase->workers;
        if (phase->queue >= 0 && waiting >= phase->queue) {
            stats->over_limit++;
            verdict->over_limit = true;
            verdict->delay_ns = 0;
            refuse(verdict, &phase->full, &service->turns[request->phase].full_retry, body->wall_ns,
                   start_ns - body->now_ns);
            return false;
        }
        stats->waited++;
    }
    service->workers[first] = start_ns + takes_ns;
    service->admitted++;
    request->admitted = true;
    verdict->delay_ns = start_ns + takes_ns - body->now_ns;
    return true;
}

/* The next status of `answer`, which only requests that meet nothing else use up. */
static void answer_in_turn(struct service *service, const struct service_request *request,
                           const struct service_body *body, struct service_verdict *verdict)
{
    const struct script_phase *phase = &service->script->phases[request->phase];
    struct phase_turns *turns = &service->turns[request->phase];
    verdict->status = phase->statuses[turns->answer];
    if (turns->answer + 1 < phase->answer_texts.count)
        turns->answer++;
    uint64_t rest_ns = service->end_ns != UINT64_MAX && service->end_ns > body->now_ns
                           ? service->end_ns - body->now_ns
                           : REST_UNKNOWN_S * NS_PER_S;
    if (verdict->status < 200 || verdict->status > 299)
        set_retry(verdict, &phase->retry_texts, phase->retry, &turns->retry, body->wall_ns,
                  rest_ns);
}

static void meet_fault(struct service *service, const struct service_request *request,
                       const struct service_body *body, struct service_verdict *verdict)
{
    const struct script_fault *fault = request->fault;
    const struct script_phase *phase = &service->script->phases[request->phase];
    verdict->fault = fault;
    if (fault->kind != FAULT_STATUS && fault->kind != FAULT_REDIRECT) {
        answer_in_turn(service, request, body, verdict);
        return;
    }
    uint64_t rest_ns = service->end_ns != UINT64_MAX && service->end_ns > body->now_ns
                           ? service->end_ns - body->now_ns
                           : REST_UNKNOWN_S * NS_PER_S;
    verdict->text = fault->text;
    refuse(verdict, &fault->refusal,
           &service->turns[request->phase].fault_retry[fault - phase->faults], body->wall_ns,
           rest_ns);
}

void service_decide(struct service *service, struct service_request *request,
                    const struct service_body *body, struct service_verdict *ret_verdict)
{
    CHECK(request->open);
    *ret_verdict = (struct service_verdict){0};
    if (request->generation != service->generation) { /* the script is new: so is the request */
        service_end(service, request, 0);
        service_begin(service, request, &(struct service_head){body->now_ns, body->bytes, true});
    }
    if (body->bad_status != 0) {
        const struct script_phase *phase = &service->script->phases[request->phase];
        ret_verdict->status = body->bad_status;
        ret_verdict->delay_ns = latency_draw(&phase->latency, &service->random);
        return;
    }
    service->stats[request->phase].points += body->points;
    if (!pass_limits(service, request, body, ret_verdict) ||
        !pass_workers(service, request, body, ret_verdict))
        return;
    if (request->fault != NULL)
        meet_fault(service, request, body, ret_verdict);
    else
        answer_in_turn(service, request, body, ret_verdict);
}

void service_end(struct service *service, struct service_request *request, int status)
{
    if (!request->open)
        return;
    request->open = false;
    CHECK(service->in_flight > 0 && status < 600);
    service->in_flight--;
    if (request->generation != service->generation)
        return;
    service->admitted -= request->admitted;
    if (status > 0)
        service->stats[request->phase].answered[status]++;
    else
        service->stats[request->phase].unanswered++;
}
