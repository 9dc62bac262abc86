/* SPDX-License-Identifier: Apache-2.0 */
/* Why: a back end's request limit shows only in its 429s, and each costs: the request itself, those
 * on their way behind it, and the silence that Retry-After asks for. So: find the limit with few,
 * stay just below it, and look only so often whether it has risen that looking stays cheap.
 *
 * Off until the first 429. From then on the rate follows one curve in busy time t (time in which
 * the rate is what holds requests back, so that it is never far above twice what is measured):
 *
 *     base × exp(slope × t + (max(0, t − pause) / 6.4 s)³)
 *
 * CUBIC in the logarithm: the same shape at 2 and at 2,000 requests/s, + 3 % two seconds after the
 * pause, × 4 after seven. A 429 chooses the next one from where on the curve the refused one left:
 *
 *   on the slow part   the limit is known: 0.985 of it, the pause, then the probe
 *   on the steep part  it lies between the rate a second before and now: up from there, evenly
 *   within 0.8 s       it fell far: up from what was accepted on average since the last gate
 *   a little later     it was guessed too high: 4 % less, from the third time on 20 %
 *   after a long gate  (5 s, the time since the last spent at the limit or waiting) a quota per
 *                      window: accepted ÷ time from gate to gate, × 0.99, held for 3 windows;
 *                      without Retry-After seconds of 429s show the same
 *
 * The pause is what a probe may cost: 14 × the silence of the last gate (so a fifteenth of the
 * time) and 200 requests for each one refused (half a per cent), but no more than a minute for the
 * latter, or a client that others pushed to a low rate would never come back. Five minutes without
 * a 429 forget all of it.
 *
 * Plain CUBIC (× 0.7, C 0.4 requests/s³) in the same simulations: 0.80 to 0.85 of a limit of 500,
 * 200, 800 requests/s with Retry-After, where this uses 0.92; and at 2 to 8 requests/s, since it
 * knows no scale, 4 to 14 % refused instead of 1 to 2 %.
 *
 * The hard ceilings are token buckets whose burst is paid for by their pace, so that no second
 * (minute) anywhere sees more than the ceiling. */
#include "control/rate.h"

#include <math.h>
#include <stddef.h>

#include "base/clock.h"

static const double rate_least = 0.5, rate_most = 1e7;
static const double scale_default_s = 6.4; /* e-fold of the curve; + 3 % after 2 s, × 4 after 7 */
static const double burst_share = 0.02;    /* of a second's requests, sent at once after a delay */

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

/* --- buckets --- */

static double bucket_level(const struct rate_bucket *bucket, uint64_t now_ns)
{
    return fmin(bucket->most, bucket->level + bucket->per_second * seconds(bucket->at_ns, now_ns));
}

/* A request that costs more than the bucket holds leaves when it is full, and owes the rest. */
static uint64_t bucket_ready_ns(const struct rate_bucket *bucket, double cost, uint64_t now_ns)
{
    if (bucket->per_second <= 0)
        return 0;
    double missing = fmin(cost, bucket->most) - bucket_level(bucket, now_ns);
    if (missing <= 1e-9)
        return 0;
    double wait_ns = ceil(missing / bucket->per_second * 1e9);
    return now_ns + (wait_ns < 1e18 ? (uint64_t)wait_ns : (uint64_t)1e18);
}

static void bucket_take(struct rate_bucket *bucket, double cost, uint64_t now_ns)
{
    bucket->level = bucket_level(bucket, now_ns) - (bucket->per_second > 0 ? cost : 0);
    bucket->at_ns = now_ns;
}

static void bucket_pace(struct rate_bucket *bucket, double per_second, double most, uint64_t now_ns)
{
    bucket_take(bucket, 0, now_ns);
    bucket->per_second = per_second;
    bucket->most = most;
    bucket->level = fmin(bucket->level, most);
}

/* Any window as long as the unit holds fewer than most + rate requests, so rate + most = ceiling +
 * 1 with whole requests never crosses it, wherever the window begins. */
static struct rate_bucket ceiling_bucket(double per_second, uint64_t now_ns)
{
    if (per_second <= 0)
        return (struct rate_bucket){.at_ns = now_ns};
    double whole = per_second < 1 ? per_second : floor(per_second);
    double most = 1 + burst_share * fmax(0, whole - 1);
    double pace = per_second < 1 ? whole : (whole + 1 - most) * (1 - 1e-6);
    return (struct rate_bucket){.level = most, .most = most, .per_second = pace, .at_ns = now_ns};
}

/* The bucket of points holds a tenth of a minute's, or the largest request so far, up to half. */
static struct rate_bucket points_bucket(const struct rate *rate, uint64_t points)
{
    struct rate_bucket bucket = rate->points;
    double ceiling = rate->settings.points_per_minute;
    if (ceiling <= 0)
        return bucket;
    bucket.most = fmax(bucket.most, fmin((double)points, ceiling / 2));
    bucket.per_second = (ceiling - bucket.most) / 60 * (1 - 1e-6);
    return bucket;
}

/* --- what is measured --- */

static double measure_time_s(const struct rate *rate)
{
    double window = rate->limit > 0 ? 8 / rate->limit : 1;
    return fmin(fmax(window, 1), 30);
}

static void measure(struct rate *rate, uint64_t now_ns)
{
    double window = measure_time_s(rate);
    double keep = exp(-seconds(rate->measured_ns, now_ns) / window);
    rate->measured = rate->measured * keep + 1 / window;
    rate->measured_weight = rate->measured_weight * keep + (1 - keep);
    rate->measured_ns = now_ns;
}

static void measure_anew(struct rate *rate, uint64_t now_ns)
{
    rate->measured = rate->measured_weight = 0;
    rate->measured_ns = now_ns;
}

double rate_measured(const struct rate *rate, uint64_t now_ns)
{
    double window = measure_time_s(rate);
    double keep = exp(-seconds(rate->measured_ns, now_ns) / window);
    double weight = rate->measured_weight * keep + (1 - keep);
    return weight > 1e-3 ? rate->measured * keep / weight : 0;
}

/* --- the curve --- */

static double curve(const struct rate *rate, double progress_s)
{
    double t = fmax(0, progress_s);
    double past = fmax(0, t - rate->pause_s) / rate->scale_s;
    double exponent = rate->slope * t + past * past * past;
    return fmin(fmax(rate->base * exp(fmin(exponent, 30)), rate_least), rate_most);
}

/* Relative growth per second. */
static double curve_slope(const struct rate *rate, double progress_s)
{
    double past = fmax(0, progress_s - rate->pause_s) / rate->scale_s;
    return rate->slope + 3 * past * past / rate->scale_s;
}

static void set_limit(struct rate *rate, double limit, uint64_t now_ns)
{
    rate->limit = limit;
    bucket_pace(&rate->learnt, limit, 1 + burst_share * limit, now_ns);
}

static void follow(struct rate *rate, enum rate_mode mode, double base, uint64_t now_ns)
{
    rate->mode = mode;
    rate->base = fmin(fmax(base, rate_least), rate_most);
    rate->scale_s = scale_default_s;
    rate->progress_s = 0;
    rate->progress_ns = now_ns;
    set_limit(rate, rate->base, now_ns);
}

/* --- what a 429 teaches --- */

static const double hold_below = 0.985; /* of the limit found */
static const double quota_share = 0.99; /* of a quota found */
static const double quota_gate_s = 5;   /* silence that a window of a second does not ask for */
static const double quota_used = 0.7;   /* of the period: spent sending at the limit, or waiting */
static const double quota_windows = 3;  /* held before the next probe */
static const double pause_least_s = 5, pause_most_s = 240, pause_dear_most_s = 60;
static const double pause_per_gate = 14;          /* of silence: it costs 1/15 of the time */
static const double pause_requests_per_429 = 200; /* refusals cost at most 0.5 % of the requests */
static const double search_most_s = 12;
static const double search_s = 6; /* from the lower end to the upper */
static const double search_slope_most = 0.12, search_slope_least = 0.03;
static const double steep = 0.2;     /* growth per second that leaves the limit uncertain */
static const double at_once_s = 0.8; /* most of the window that back ends count by */
static const double settled_search_s = 1.5,
                    settled_hold_s = 4; /* on the curve: it can be trusted */
static const double forget_s = 300;

static void search(struct rate *rate, double low, double high, uint64_t now_ns)
{
    follow(rate, RATE_SEARCHING, low, now_ns);
    double distance = log(fmax(high, rate_least) / rate->base);
    double slope = fmin(distance / search_s, search_slope_most);
    rate->slope = fmax(fmax(slope, distance / search_most_s), search_slope_least);
    rate->pause_s = fmax(distance / rate->slope, 2);
}

static void hold(struct rate *rate, double base, double pause_s, uint64_t now_ns)
{
    follow(rate, RATE_HOLDING, base, now_ns);
    rate->slope = 0;
    rate->pause_s = fmin(fmax(pause_s, pause_least_s), pause_most_s);
}

/* A window was used up and then waited for: all of the period was one or the other. Where less was
 * offered than allowed, accepted ÷ period says nothing about the back end. */
static bool shows_quota(const struct rate *rate, double silent_s, double period_s)
{
    return silent_s >= quota_gate_s && silent_s + rate->busy_s >= quota_used * period_s;
}

static void hold_quota(struct rate *rate, double base, double window_s, uint64_t now_ns)
{
    hold(rate, base, window_s * quota_windows, now_ns);
    rate->mode = RATE_QUOTA;
    rate->window_s = window_s;
    rate->scale_s = fmin(fmax(window_s / 2, scale_default_s), 60);
    rate->reason = "429: a quota per window, learnt from its gates";
}

/* A gate of seconds while a quota is known. */
static void correct_quota(struct rate *rate, double mean, double silent_s, uint64_t now_ns)
{
    double base = rate->base * 0.9, window_s = rate->window_s; /* others use it too */
    bool probed = rate->progress_s > rate->pause_s;
    if (shows_quota(rate, silent_s, rate->period_s)) {
        base = mean * quota_share;
        window_s = probed ? window_s : rate->period_s;
    }
    if (probed && base < rate->base)
        base = rate->base; /* it was good for windows, only the probe was not */
    hold_quota(rate, base, window_s, now_ns);
}

/* The 429 came before the curve had been followed for long enough to say anything. */
static void decide_early(struct rate *rate, double known_s, double mean, uint64_t now_ns)
{
    double low = fmin(mean, rate->limit * 0.95);
    if (known_s < at_once_s) {
        rate->soon = 0;
        search(rate, low, rate->limit, now_ns);
        rate->reason = "429 at once: the limit is much lower";
    } else {
        rate->soon++;
        hold(rate, rate->base * (rate->soon <= 2 ? 0.96 : 0.8), 0, now_ns);
        rate->reason = "429 soon: a little lower";
    }
}

static void decide(struct rate *rate, const struct rate_throttle *throttle, uint64_t now_ns)
{
    double measured = rate_measured(rate, now_ns);
    double mean = rate->period_accepted / fmax(rate->period_s, 1e-3);
    double late_s = (double)throttle->latency_ns / 1e9;
    double known_s = rate->progress_s - late_s; /* on the curve when the refused request left */
    double slope = curve_slope(rate, known_s);
    bool searching = rate->mode == RATE_SEARCHING;
    double settled_s = fmax(searching ? settled_search_s : settled_hold_s, 8 / rate->limit);
    bool early = rate->mode != RATE_OFF && known_s < settled_s;
    rate->failed = rate->mode == RATE_OFF ? measured : rate->limit;
    if (!early)
        rate->soon = 0;
    double silent_s = (double)throttle->gate_ns / 1e9;
    if (rate->mode == RATE_QUOTA && silent_s >= quota_gate_s) {
        correct_quota(rate, mean, silent_s, now_ns);
    } else if (shows_quota(rate, silent_s, rate->period_s)) {
        hold_quota(rate, mean * quota_share, rate->period_s, now_ns);
    } else if (rate->mode == RATE_OFF) {
        /* Much may have been accepted at once, by a window that was empty. */
        search(rate, fmax(0.35 * measured, fmin(0.7 * measured, mean)), measured, now_ns);
        rate->reason = "429: there is a limit";
    } else if (early) {
        decide_early(rate, known_s, mean, now_ns);
    } else if (slope > steep) {
        search(rate, curve(rate, known_s - 1), rate->limit, now_ns);
        rate->reason = "429 on the way up";
    } else {
        double lag_s = 0.5 + 0.4 * fmin(1, slope / 0.1);
        double found = fmin(curve(rate, known_s - lag_s), measured);
        hold(rate, hold_below * found, 0, now_ns);
        rate->reason = searching ? "429: found the limit" : "429 of a probe";
    }
}

void rate_throttled(struct rate *rate, const struct rate_throttle *throttle, uint64_t now_ns)
{
    uint64_t gate_end_ns = now_ns + throttle->gate_ns;
    rate->gate_ns = rate->latest_ns = now_ns;
    if (!rate->settings.adaptive)
        return;
    rate->refused++;
    if (!rate->throttled) {
        rate->throttled = true;
        rate->refused = 1;
        rate->episode_ns = now_ns;
        rate->period_s = seconds(rate->period_ns, gate_end_ns);
        rate->period_accepted = rate->accepted;
        rate->accepted = 0;
        rate->chance = throttle->chance;
        rate->busy_s = rate->mode == RATE_OFF ? 0 : rate->progress_s;
        decide(rate, throttle, now_ns);
        /* No burst behind the gate: it would be what is over the limit. */
        rate->learnt.level = fmin(rate->learnt.level, 1);
        rate->learnt.at_ns = gate_end_ns;
    }
}

void rate_refused(struct rate *rate, uint64_t now_ns)
{
    rate->refused++;
    rate->latest_ns = now_ns;
}

/* How long the episode was, and what it cost, is known now. */
static void end_episode(struct rate *rate, uint64_t now_ns)
{
    double silent_s = seconds(rate->episode_ns, now_ns);
    rate->throttled = false;
    measure_anew(rate, now_ns);
    rate->progress_ns = now_ns;
    double whole_s = seconds(rate->period_ns, now_ns);
    rate->period_ns = now_ns;
    if (rate->mode != RATE_QUOTA && shows_quota(rate, silent_s, whole_s))
        hold_quota(rate, rate->period_accepted / whole_s * quota_share, whole_s, now_ns);
    if (rate->mode == RATE_SEARCHING)
        return;
    double dear_s = pause_requests_per_429 * rate->refused / rate->failed;
    double pause_s = fmax(rate->pause_s, fmin(dear_s, pause_dear_most_s));
    if (rate->mode == RATE_HOLDING)
        pause_s = fmax(pause_s, pause_per_gate * silent_s);
    rate->pause_s = fmin(pause_s, pause_most_s) * (0.85 + 0.3 * rate->chance);
}

/* Time on the curve counts only while the limit is what holds the requests back. */
static void climb(struct rate *rate, uint64_t now_ns)
{
    double step_s = fmin(seconds(rate->progress_ns, now_ns), fmax(0.25, 2 / rate->limit));
    rate->progress_ns = now_ns;
    double ceiling = rate->settings.requests_per_second;
    bool used = rate->measured_weight < 0.2 || rate_measured(rate, now_ns) >= 0.7 * rate->limit;
    if (!used || rate->limit >= rate_most || (ceiling > 0 && rate->limit > ceiling))
        return;
    rate->progress_s += step_s;
    set_limit(rate, curve(rate, rate->progress_s), now_ns);
    if (rate->progress_s > rate->pause_s)
        rate->reason = "no 429: up";
}

void rate_accepted(struct rate *rate, uint64_t sent_ns, uint64_t now_ns)
{
    if (!rate->settings.adaptive)
        return;
    if (rate->gate_ns != 0 && sent_ns <= rate->gate_ns)
        return;
    if (rate->throttled)
        end_episode(rate, now_ns);
    rate->accepted++;
    measure(rate, now_ns);
    if (rate->mode == RATE_OFF)
        return;
    climb(rate, now_ns);
    if (seconds(rate->latest_ns, now_ns) >= forget_s) {
        rate->mode = RATE_OFF;
        rate->limit = 0;
        rate->reason = "five minutes without a 429";
    }
}

/* --- asked and told --- */

void rate_init(struct rate *rate, const struct rate_settings *settings, uint64_t now_ns)
{
    *rate = (struct rate){.settings = *settings,
                          .ceiling = ceiling_bucket(settings->requests_per_second, now_ns),
                          .points = {.most = settings->points_per_minute / 10, .at_ns = now_ns},
                          .learnt = {.level = 1, .most = 1, .at_ns = now_ns},
                          .measured_ns = now_ns,
                          .period_ns = now_ns,
                          .reason = "none yet"};
    rate->points.level = rate->points.most;
}

uint64_t rate_ready_ns(const struct rate *rate, uint64_t points, uint64_t now_ns)
{
    uint64_t ready_ns = bucket_ready_ns(&rate->ceiling, 1, now_ns);
    struct rate_bucket bucket = points_bucket(rate, points);
    uint64_t points_ns = bucket_ready_ns(&bucket, (double)points, now_ns);
    if (ready_ns < points_ns)
        ready_ns = points_ns;
    if (rate->mode != RATE_OFF) {
        uint64_t learnt_ns = bucket_ready_ns(&rate->learnt, 1, now_ns);
        if (ready_ns < learnt_ns)
            ready_ns = learnt_ns;
    }
    return ready_ns;
}

void rate_sent(struct rate *rate, uint64_t points, uint64_t now_ns)
{
    bucket_take(&rate->ceiling, 1, now_ns);
    rate->points = points_bucket(rate, points);
    bucket_take(&rate->points, (double)points, now_ns);
    if (rate->mode != RATE_OFF)
        bucket_take(&rate->learnt, 1, now_ns);
}

double rate_limit(const struct rate *rate)
{
    double ceiling = rate->settings.requests_per_second;
    if (rate->mode == RATE_OFF)
        return ceiling;
    return ceiling > 0 ? fmin(ceiling, rate->limit) : rate->limit;
}

static uint64_t before(uint64_t at_ns, uint64_t back_ns)
{
    return at_ns > back_ns ? at_ns - back_ns : 0;
}

void rate_shift(struct rate *rate, uint64_t back_ns)
{
    uint64_t *stamps[] = {&rate->ceiling.at_ns, &rate->points.at_ns, &rate->learnt.at_ns,
                          &rate->progress_ns,   &rate->measured_ns,  &rate->period_ns,
                          &rate->episode_ns,    &rate->gate_ns,      &rate->latest_ns};
    for (size_t i = 0; i < sizeof stamps / sizeof *stamps; i++)
        *stamps[i] = before(*stamps[i], back_ns);
}
