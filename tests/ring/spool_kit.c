/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/spool_kit.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- directories ---- */

void kit_make_directory(char path[256])
{
    const char *base = getenv("SPOOL_TEST_DIRECTORY");
    if (base == NULL)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 256, "%s/pgweir-spool-XXXXXX", base);
    CHECK(mkdtemp(path) != NULL);
}

void kit_empty_directory(const char *path)
{
    DIR *listing = opendir(path);
    if (listing == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(listing), entry->d_name, 0) == 0)
            continue;
        char inner[512];
        CHECK(snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < (int)sizeof inner);
        kit_remove_directory(inner); /* as deep as tests make them */
    }
    closedir(listing);
}

void kit_remove_directory(const char *path)
{
    kit_empty_directory(path);
    CHECK(rmdir(path) == 0);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t bytes = strlen(name), tail = strlen(suffix);
    return bytes >= tail && strcmp(name + bytes - tail, suffix) == 0;
}

static const char *wanted_suffix;

static int is_wanted(const struct dirent *entry)
{
    return ends_with(entry->d_name, wanted_suffix);
}

static int list(const char *path, const char *suffix, struct dirent ***ret_names)
{
    wanted_suffix = suffix;
    int count = scandir(path, ret_names, is_wanted, alphasort);
    CHECK(count >= 0);
    return count;
}

size_t kit_count_files(const char *path, const char *suffix)
{
    struct dirent **names;
    int count = list(path, suffix, &names);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return (size_t)count;
}

void kit_file_name(const char *path, const char *suffix, size_t index, char name[512])
{
    struct dirent **names;
    int count = list(path, suffix, &names);
    CHECK(index < (size_t)count);
    CHECK(snprintf(name, 512, "%s/%s", path, names[index]->d_name) < 512);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

uint64_t kit_file_bytes(const char *path)
{
    struct stat status;
    CHECK(stat(path, &status) == 0);
    return (uint64_t)status.st_size;
}

void kit_flip_bit(const char *path, uint64_t bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    CHECK(fd >= 0 && pread(fd, &byte, 1, (off_t)(bit / 8)) == 1);
    byte ^= (uint8_t)(1u << bit % 8);
    CHECK(pwrite(fd, &byte, 1, (off_t)(bit / 8)) == 1);
    close(fd);
}

void kit_truncate(const char *path, uint64_t bytes)
{
    CHECK(truncate(path, (off_t)bytes) == 0);
}

/* ---- parcels ---- */

#define CREATED_NS (UINT64_C(1700000000) * NS_PER_S)

uint32_t kit_points(uint64_t sequence)
{
    return (uint32_t)(sequence * 7 % 1000 + 1);
}

struct parcel *kit_parcel(uint64_t sequence, uint32_t bytes)
{
    struct parcel *parcel = parcel_create(bytes);
    CHECK(parcel != NULL);
    struct random random = {.state = sequence};
    for (uint32_t i = 0; i < bytes; i += 8) {
        uint64_t word = random_next(&random);
        memcpy(parcel->body + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
    parcel->sequence = sequence;
    parcel->points = kit_points(sequence);
    parcel->created_ns = CREATED_NS + sequence;
    parcel->due_ns = CREATED_NS + sequence / 2;
    parcel->encoding = (uint32_t)(sequence % 3);
    return parcel;
}

bool kit_parcel_is_good(const struct parcel *parcel)
{
    struct parcel *like = kit_parcel(parcel->sequence, parcel->bytes);
    bool good = like->points == parcel->points && like->created_ns == parcel->created_ns &&
                like->due_ns == parcel->due_ns && like->encoding == parcel->encoding &&
                memcmp(like->body, parcel->body, parcel->bytes) == 0;
    parcel_release(&like);
    return good;
}

/* ---- a store ---- */

static void note(void *context, const struct spool_event *event)
{
    struct kit *kit = context;
    CHECK(kit->event_count < KIT_EVENTS_MAX);
    kit->counts[kit->event_count] = kit->counter != NULL ? *kit->counter : 0;
    kit->events[kit->event_count++] = *event;
    struct parcel *parcel = event->parcel;
    CHECK((parcel != NULL) == (event->kind != SPOOL_END && event->kind != SPOOL_EVICTED));
    if (parcel == NULL)
        return;
    CHECK(parcel->sequence == event->sequence);
    CHECK(kit->accept_any || kit_parcel_is_good(parcel));
    parcel_release(&parcel);
}

void kit_init(struct kit *kit, const char *path)
{
    memset(kit, 0, offsetof(struct kit, events));
    kit->event_count = 0;
    kit->accept_any = false;
    kit->counter = NULL;
    kit->settings = (struct spool_settings){.directory = path,
                                            .size_bytes = 1 << 20,
                                            .age_ns = 47 * 3600 * NS_PER_S,
                                            .segment_bytes = 1 << 16,
                                            .flush_ns = 200 * NS_PER_MS,
                                            .flush_bytes = 4 << 20};
    kit->now = (struct spool_now){.ns = NS_PER_S, .wall_ns = CREATED_NS + 60 * NS_PER_S};
}

bool kit_open(struct kit *kit)
{
    struct error error;
    kit->store = spool_store_open(&kit->settings, note, kit, kit->now, &error);
    return kit->store != NULL;
}

void kit_close(struct kit *kit)
{
    spool_store_close(&kit->store, kit->now);
}

enum spool_event_kind kit_put(struct kit *kit, uint64_t sequence, uint32_t bytes)
{
    struct parcel *parcel = kit_parcel(sequence, bytes);
    size_t before = kit->event_count;
    spool_store_put(kit->store, &parcel, 1, kit->now);
    CHECK(kit->event_count > before); /* the last is the parcel's own */
    CHECK(kit->events[kit->event_count - 1].sequence == sequence);
    return kit->events[kit->event_count - 1].kind;
}

uint64_t kit_read(struct kit *kit)
{
    spool_store_read(kit->store, kit->now);
    const struct spool_event *last = &kit->events[kit->event_count - 1];
    CHECK(last->kind == SPOOL_READ || last->kind == SPOOL_END);
    return last->kind == SPOOL_READ ? last->sequence : 0;
}

uint64_t kit_turn(struct kit *kit, uint64_t ns)
{
    kit->now.ns += ns;
    kit->now.wall_ns += ns;
    return spool_store_turn(kit->store, kit->now);
}

size_t kit_count_events(const struct kit *kit, enum spool_event_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < kit->event_count; i++)
        count += kit->events[i].kind == kind;
    return count;
}

struct spool_status kit_status(const struct kit *kit)
{
    struct spool_status status;
    spool_store_status(kit->store, &status);
    return status;
}
