/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/histogram.h"
#include "tools/load/proc.h"

/* One look at everything: the kernel's view of the three programs, the collector's /metrics and
 * /histograms, the sink's and the simulator's reports. Whatever cannot be asked is absent, not an
 * error: a program that is frozen or busy does not answer in time, and the next sample will tell.
 */
struct collector_sample {
    bool known;
    uint64_t scrapes_ok, scrapes_partial, scrapes_failed, scrapes_skipped;
    uint64_t left_out; /* groups that were due, to spare the back end */
    uint64_t targets_up, connections, series;
    /* points, all exporters */
    uint64_t collected, recovered, delivered, queued, spooled, dropped, rejected;
    uint64_t requests_ok, requests_failed, bytes_sent, bytes_encoded;
    bool io_uring;
};

struct sink_sample {
    bool known, has_ledger;
    uint64_t requests, accepted, points, bytes;
    uint64_t taken_points, own_points; /* answered or not; of pgweir.* metrics */
    uint64_t distinct, doubled, excused, gaps, unproven, unproven_points, undecided;
};

struct sim_sample {
    bool known;
    uint64_t connections, scrapes, values, void_values, bytes_out, bytes_in, syscalls, rss_kib;
    double cpu_s;
};

struct sample {
    uint64_t at_ns;           /* monotonic */
    uint64_t busy_ns, own_ns; /* CPU of the whole machine, and of this process */
    struct proc_sample collector_process, sim_process, sink_process;
    struct collector_sample collector;
    struct sink_sample sink;
    struct sim_sample sim;
    bool views_known, sink_age_known;
    struct histogram_view lag, age, scrape, delivery, sink_age;
};

/* Whom to ask; what is NULL or 0 there is not asked. */
struct sample_sources {
    pid_t collector, sim, sink;
    bool collector_group;   /* a command of the user's: all of its process group counts */
    const char *admin;      /* host:port */
    const char *sink_place; /* host:port */
    const char *sim_socket;
    uint64_t timeout_ns; /* of each question */
};

void sample_take(const struct sample_sources *sources, struct sample *ret_sample);

/* The readers of the answers, which are foreign bytes; false when they are not what they should be.
 */
bool sample_read_metrics(const char *text, struct collector_sample *ret_sample);
bool sample_read_histograms(const char *text, struct sample *ret_sample);
bool sample_read_sink(const char *text, struct sample *ret_sample);
bool sample_read_sim(const char *text, struct sim_sample *ret_sample);

/* Sum over the samples of a metric in Prometheus text whose labels contain `label` ("": all). */
double metrics_sum(const char *text, const char *name, const char *label);
