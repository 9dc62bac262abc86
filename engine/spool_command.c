/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator does with a spool's directory: see what waits in it, check it, take it out to be
 * sent again by other means. Reads only and takes no lock, so it works beside a running collector
 * and on a copy. */
#include "spool_command.h"

#include <errno.h>
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "commands.h"
#include "ring/spool_inspect.h"
#include "spool_export.h"

enum {
    LOOKS_MAX = 4, /* verify: what is being written is sound a moment later */
    LOOK_AGAIN_US = 300 * 1000,
};

struct options {
    const char *directory;
    struct spool_export export;
    bool records;
};

static void print_help(FILE *to)
{
    fputs(
        "pgweir spool ls DIR [--records]      what waits to be delivered\n"
        "pgweir spool verify DIR              check every CRC; exit code 1 says something is "
        "wrong\n"
        "pgweir spool export DIR --to FOLDER  one file a batch, as it would be sent\n"
        "pgweir spool export DIR --plain      all batches to standard output, decompressed: each\n"
        "                                     behind its length, 4 bytes, big-endian\n"
        "\n"
        "DIR is what spool: directory: names, or the directory of one exporter in it. Nothing is\n"
        "changed and no lock taken: a collector may run, or DIR may be a copy.\n"
        "\n"
        "Examples:\n"
        "  pgweir spool ls /var/lib/pgweir/spool\n"
        "  pgweir spool verify /var/lib/pgweir/spool || echo damaged\n"
        "  pgweir spool export /var/lib/pgweir/spool/otlp_http --to /tmp/batches\n"
        "  curl -H 'Content-Type: application/x-protobuf' -H 'Content-Encoding: gzip' \\\n"
        "       --data-binary @/tmp/batches/00000000000000000042.pb.gz \\\n"
        "       http://localhost:4318/v1/metrics\n",
        to);
}

/* ---- words ---- */

static const char *age_text(uint64_t since_ns, char text[32])
{
    uint64_t now_ns = clock_wall_ns(), s = now_ns > since_ns ? (now_ns - since_ns) / NS_PER_S : 0;
    if (s < 120)
        snprintf(text, 32, "%" PRIu64 "s", s);
    else if (s < 7200)
        snprintf(text, 32, "%" PRIu64 "m", s / 60);
    else
        snprintf(text, 32, "%.1fh", (double)s / 3600);
    return text;
}

/* ---- ls ---- */

struct tally {
    uint64_t records, waiting, points, bytes, oldest_ns;
};

struct ls {
    const struct options *options;
    char file[SPOOL_NAME_BYTES]; /* the segment at hand */
    uint64_t file_bytes, damage_bytes;
    const char *note;
    struct tally here, all;
    uint64_t files;
};

static void print_tally(const char *name, const struct tally *tally, const char *note)
{
    char age[32];
    printf("  %-38s %8" PRIu64 " %8" PRIu64 " %10" PRIu64 " %12" PRIu64 " %8s%s\n", name,
           tally->records, tally->waiting, tally->points, tally->bytes,
           tally->waiting > 0 ? age_text(tally->oldest_ns, age) : "-", note);
}

static void end_segment(struct ls *ls)
{
    if (ls->file[0] == 0)
        return;
    char note[128] = "";
    if (ls->note[0] != 0)
        snprintf(note, sizeof note, "  %s", ls->note);
    else if (ls->damage_bytes > 0)
        snprintf(note, sizeof note, "  %" PRIu64 " bytes are no record", ls->damage_bytes);
    print_tally(ls->file, &ls->here, note);
    ls->file[0] = 0;
}

static void ls_segment(void *context, const char *file, uint64_t bytes, enum spool_head_state state)
{
    struct ls *ls = context;
    end_segment(ls);
    snprintf(ls->file, sizeof ls->file, "%s", file);
    ls->here = (struct tally){.records = 0};
    ls->file_bytes = bytes;
    ls->damage_bytes = 0;
    ls->note = state == SPOOL_HEAD_FOREIGN ? "of another version of pgweir" : "";
    ls->files++;
}

static void add_waiting(struct tally *tally, const struct spool_record *record)
{
    tally->waiting++;
    tally->points += record->points;
    tally->bytes += record->bytes;
    if (tally->oldest_ns == 0 || record->created_ns < tally->oldest_ns)
        tally->oldest_ns = record->created_ns;
}

static void ls_record(void *context, const struct spool_seen *seen)
{
    struct ls *ls = context;
    ls->here.records++;
    ls->all.records++;
    if (seen->state != SPOOL_IS_WAITING) {
        ls->damage_bytes += seen->state == SPOOL_IS_CUT ? sizeof *seen->record : 0;
        return;
    }
    add_waiting(&ls->here, seen->record);
    add_waiting(&ls->all, seen->record);
    char age[32];
    if (ls->options->records)
        printf("    batch %-12" PRIu64 " %8u points %10u bytes %-7s %8s\n", seen->record->sequence,
               seen->record->points, seen->record->bytes,
               spool_compression_text(seen->record->encoding),
               age_text(seen->record->created_ns, age));
}

static void ls_damage(void *context, const char *file, uint64_t offset, uint64_t bytes)
{
    struct ls *ls = context;
    (void)file;
    (void)offset;
    ls->damage_bytes += bytes;
}

static void ls_bad_file(void *context, const char *file, int error)
{
    (void)context;
    printf("  %s: %s\n", file, error != 0 ? strerror(error) : "has bad entries");
}

static void ls_missing(void *context, uint64_t records, uint64_t points)
{
    (void)context;
    printf("  missing: %" PRIu64 " batches with %" PRIu64 " points\n", records, points);
}

static bool ls(const char *path, const struct options *options, struct error *error)
{
    struct ls ls = {.options = options, .note = ""};
    struct spool_visitor visitor = {.context = &ls,
                                    .segment = ls_segment,
                                    .record = ls_record,
                                    .damage = ls_damage,
                                    .bad_file = ls_bad_file,
                                    .missing = ls_missing};
    printf("%s\n  %-38s %8s %8s %10s %12s %8s\n", path, "segment", "batches", "waiting", "points",
           "bytes", "oldest");
    if (!spool_inspect(path, &visitor, error))
        return false;
    end_segment(&ls);
    print_tally("all", &ls.all, "");
    return true;
}

/* ---- verify ---- */

/* What is wrong, as text; printed only when it is still so after some looks. */
struct verify {
    FILE *text;
    uint64_t problems, records, waiting, points;
};

static void verify_segment(void *context, const char *file, uint64_t bytes,
                           enum spool_head_state state)
{
    struct verify *verify = context;
    (void)bytes;
    if (state == SPOOL_HEAD_GOOD)
        return;
    verify->problems++;
    fprintf(verify->text, "  %s: %s\n", file,
            state == SPOOL_HEAD_FOREIGN ? "of another version of pgweir: not checked"
                                        : "the file's head is damaged");
}

static void verify_record(void *context, const struct spool_seen *seen)
{
    struct verify *verify = context;
    const struct spool_record *record = seen->record;
    verify->records++;
    if (seen->state == SPOOL_IS_WAITING) {
        verify->waiting++;
        verify->points += record->points;
    }
    if (seen->state == SPOOL_IS_WAITING || seen->state == SPOOL_IS_DONE)
        return;
    verify->problems++;
    fprintf(verify->text,
            "  %s: at byte %" PRIu64 ": batch %" PRIu64 " with %u points: its body %s\n",
            seen->file, seen->offset, record->sequence, record->points,
            seen->state == SPOOL_IS_CUT ? "is cut off" : "is not what was written");
}

static void verify_damage(void *context, const char *file, uint64_t offset, uint64_t bytes)
{
    struct verify *verify = context;
    verify->problems++;
    fprintf(verify->text, "  %s: at byte %" PRIu64 ": %" PRIu64 " bytes are no record\n", file,
            offset, bytes);
}

static void verify_bad_file(void *context, const char *file, int error)
{
    struct verify *verify = context;
    verify->problems++;
    fprintf(verify->text, "  %s: %s\n", file,
            error == ENOENT ? "there is no ack log: delivered batches would be sent again"
            : error != 0    ? strerror(error)
                            : "has bad entries: delivered batches may be sent again");
}

static void verify_missing(void *context, uint64_t records, uint64_t points)
{
    struct verify *verify = context;
    verify->problems++;
    fprintf(verify->text, "  missing: %" PRIu64 " batches with %" PRIu64 " points\n", records,
            points);
}

static bool verify(const char *path, struct error *error, bool *ret_sound)
{
    char *text = NULL;
    struct verify verify = {.problems = 0};
    for (int look = 0; look < LOOKS_MAX; look++) {
        size_t bytes;
        free(text);
        text = NULL;
        verify = (struct verify){.text = open_memstream(&text, &bytes)};
        xdone(verify.text != NULL);
        struct spool_visitor visitor = {.context = &verify,
                                        .bodies = true,
                                        .segment = verify_segment,
                                        .record = verify_record,
                                        .damage = verify_damage,
                                        .bad_file = verify_bad_file,
                                        .missing = verify_missing};
        bool read = spool_inspect(path, &visitor, error);
        xdone(fclose(verify.text) == 0);
        if (!read) {
            free(text);
            return false;
        }
        if (verify.problems == 0)
            break;
        if (look + 1 < LOOKS_MAX)
            usleep(LOOK_AGAIN_US);
    }
    printf("%s: %s: %" PRIu64 " batches, %" PRIu64 " of them waiting with %" PRIu64 " points\n",
           path, verify.problems == 0 ? "sound" : "DAMAGED", verify.records, verify.waiting,
           verify.points);
    if (verify.problems > 0)
        fputs(text, stdout);
    free(text);
    *ret_sound = *ret_sound && verify.problems == 0;
    return true;
}

/* ---- destinations ---- */

enum act { ACT_LS, ACT_VERIFY, ACT_EXPORT };

static bool act_on(enum act act, const char *path, const struct options *options, const char *name,
                   bool *sound)
{
    struct error error;
    bool done = act == ACT_LS       ? ls(path, options, &error)
                : act == ACT_VERIFY ? verify(path, &error, sound)
                                    : spool_export(path, &options->export, name, &error);
    if (!done)
        fprintf(stderr, "pgweir spool: %s\n", error.text);
    return done;
}

static int is_name(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The directory itself, or each in it that is one exporter's. */
static int act_on_all(enum act act, const struct options *options)
{
    bool sound = true, done = true;
    const char *directory = options->directory;
    if (spool_inspect_is_spool(directory)) {
        done = act_on(act, directory, options, "", &sound);
        return done && sound ? EXIT_FINE : EXIT_FAILED;
    }
    struct dirent **names;
    int count = scandir(directory, &names, is_name, alphasort), found = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name) < PATH_MAX &&
            spool_inspect_is_spool(path)) {
            done = act_on(act, path, options, names[i]->d_name, &sound) && done;
            found++;
        }
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    if (found == 0) {
        fprintf(stderr, "pgweir spool: %s: %s\n", directory,
                count < 0
                    ? strerror(errno)
                    : "no spool here: name what spool: directory: names in the configuration");
        return EXIT_FAILED;
    }
    return done && sound ? EXIT_FINE : EXIT_FAILED;
}

/* ---- the command line ---- */

static int refuse(const char *text, const char *word)
{
    fprintf(stderr, "pgweir spool: %s%s\nTry: pgweir spool --help\n", text, word);
    return EXIT_USAGE;
}

static int check_usage(enum act act, const struct options *options)
{
    if (options->directory == NULL)
        return refuse("which directory? For example: pgweir spool ls /var/lib/pgweir/spool", "");
    if (options->records && act != ACT_LS)
        return refuse("--records is of ls", "");
    if ((options->export.plain || options->export.to != NULL) && act != ACT_EXPORT)
        return refuse("--to and --plain are of export", "");
    if (act == ACT_EXPORT && options->export.plain == (options->export.to != NULL))
        return refuse("export: either --to FOLDER or --plain", "");
    return EXIT_FINE;
}

int spool_command(int argc, char **argv)
{
    static const struct option long_options[] = {{"records", no_argument, NULL, 'r'},
                                                 {"to", required_argument, NULL, 't'},
                                                 {"plain", no_argument, NULL, 'p'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {0}};
    static const char *const acts[] = {"ls", "verify", "export"};
    struct options options = {.directory = NULL};
    optind = 1;
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1;) {
        if (code == 'h') {
            print_help(stdout);
            return EXIT_FINE;
        }
        if (code == ':' || code == '?')
            return refuse(code == ':' ? "--to needs a folder, not " : "unknown option ",
                          code == ':' ? "nothing" : argv[optind - 1]);
        options.records = options.records || code == 'r';
        options.export.plain = options.export.plain || code == 'p';
        if (code == 't')
            options.export.to = optarg;
    }
    if (optind == argc) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[optind++];
    int act = 0;
    while (act < 3 && strcmp(acts[act], word) != 0)
        act++;
    if (act == 3)
        return refuse("ls, verify or export, not ", word);
    if (optind < argc)
        options.directory = argv[optind++];
    if (optind < argc)
        return refuse("unexpected argument ", argv[optind]);
    int code = check_usage((enum act)act, &options);
    return code != EXIT_FINE ? code : act_on_all((enum act)act, &options);
}
