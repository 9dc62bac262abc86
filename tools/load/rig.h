/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/collector.h"
#include "tools/load/process.h"
#include "tools/load/sample.h"

/* The programs of one run: a back end, a fleet, a collector, each ours or the user's. The rig knows
 * how to start and stop them in order and where to ask them. Main thread. */
enum { RIG_PATH_BYTES = 4096, RIG_PLACE_BYTES = 300 };

struct rig {
    const struct scenario *scenario;
    const char *directory;                  /* logs and configuration; exists */
    char private_directory[RIG_PATH_BYTES]; /* sockets (their paths are short) and passwords */
    char collector_program[RIG_PATH_BYTES], sim_program[RIG_PATH_BYTES],
        sink_program[RIG_PATH_BYTES];
    struct process sim, sink, collector;
    char sim_socket[RIG_PATH_BYTES + 16], password_file[RIG_PATH_BYTES + 16],
        sink_ca[RIG_PATH_BYTES + 16];
    char sink_place[RIG_PLACE_BYTES]; /* its second one, open whatever its script does */
    char backend_url[RIG_PLACE_BYTES], admin[RIG_PLACE_BYTES];
    uint16_t sim_port;
    uint64_t ledger_sample;
};

/* Whether the programs are there and our collector knows all that the scenario needs. */
bool rig_check(const struct scenario *scenario, struct error *error);

/* Finds the programs; nothing runs yet. */
bool rig_create(struct rig *rig, const struct scenario *scenario, const char *directory,
                struct error *error);

/* Starts the back end and the fleet and waits until both listen. */
bool rig_start(struct rig *rig, struct error *error);

/* Starts the collector on the first `servers` servers and waits until it answers. */
bool rig_start_collector(struct rig *rig, uint64_t servers, struct error *error);

/* Ends it; it delivers what it has. With `fleet_too` the fleet falls silent first, so that every
 * answer is either wholly read or was never given: nothing is in flight that nobody could account
 * for. Without, the caller knows that it is idle. */
bool rig_stop_collector(struct rig *rig, bool fleet_too, struct error *error);

/* Ends everything and removes what is private. Nothing of it may fail. */
void rig_destroy(struct rig *rig);

/* Whom to ask for samples now; a program that stands still is left out. */
struct sample_sources rig_sources(const struct rig *rig);

/* Sends a phase's documents and stops or continues its programs. */
bool rig_begin_phase(struct rig *rig, const struct scenario_phase *phase, struct error *error);

/* Ends sink and simulator and reads their last reports into the sample. What was given and not
 * taken any more is settled first: the simulator waits until every connection of the collector is
 * seen to be closed. */
bool rig_finish(struct rig *rig, struct sample *ret_final, struct error *error);
