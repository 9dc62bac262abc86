/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir-flame: what `perf script` prints as folded stacks, and those as pictures. */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tools/flame/draw.h"
#include "tools/flame/fold.h"

enum { EXIT_USAGE = 2, TOP_ROWS = 25 };

static const char usage[] =
    "Usage: pgweir-flame fold [--merge-threads] [SCRIPT]           prints folded stacks\n"
    "       pgweir-flame draw [options] [FOLDED]                   prints an SVG\n"
    "       pgweir-flame diff [options] BEFORE AFTER               prints an SVG of the change\n"
    "       pgweir-flame top  [--rows N] [--work A:B] [BEFORE] FOLDED\n"
    "                                                              prints who spent it, as a "
    "table\n"
    "Flame graphs of perf's profiles, on and off CPU. Files may be \"-\" (the default): stdin.\n"
    "\n"
    "  --title TEXT       heading\n"
    "  --subtitle TEXT    line below it: command, commit, machine\n"
    "  --min PIXELS       leaves out narrower frames (0.8; the picture is 1,200 wide)\n"
    "  --events           weights are events, not microseconds\n"
    "  --layout before    diff: widths are those of BEFORE, which shows what is gone\n"
    "  --work A:B         diff, top: what was done during BEFORE and AFTER (points, say); time "
    "per\n"
    "                     work is compared, else shares of the whole\n"
    "  --merge-threads    fold: \"shard-0\" and \"shard-1\" become \"shard\"\n"
    "  --rows N           top: so many functions (25)\n"
    "  --help\n"
    "\n"
    "Example:\n"
    "  perf record -e cpu-clock -F 997 -g -p \"$(pgrep -x pgweir)\" -- sleep 10\n"
    "  perf script --no-inline -F comm,tid,time,period,event,ip,sym,dso | pgweir-flame fold "
    ">a.folded\n"
    "  pgweir-flame draw --title 'pgweir, 1,000 servers' a.folded >a.svg\n"
    "  pgweir-flame diff --title 'What the change changed' a.folded b.folded >change.svg\n"
    "flamegraphs/record does all of it for a load scenario.\n";

struct options {
    struct picture picture;
    bool merge_threads;
    uint32_t rows;
    const char *files[2];
    int file_count;
};

static bool parse_work(const char *text, struct picture *picture)
{
    char *end;
    picture->before_work = strtod(text, &end);
    if (end == text || *end != ':')
        return false;
    const char *second = end + 1;
    picture->after_work = strtod(second, &end);
    return end != second && *end == '\0' && picture->before_work > 0 && picture->after_work > 0;
}

static int __attribute__((format(printf, 1, 2))) refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("pgweir-flame: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("; see pgweir-flame --help\n", stderr);
    va_end(arguments);
    return EXIT_USAGE;
}

/* 0, or the exit code. */
static int parse_option(int option, const char *value, struct options *options)
{
    char *end;
    switch (option) {
    case 't':
        options->picture.title = value;
        return 0;
    case 's':
        options->picture.subtitle = value;
        return 0;
    case 'm':
        options->picture.width_min = strtod(value, &end);
        return *end == '\0' && options->picture.width_min >= 0
                   ? 0
                   : refuse("--min %s is no number of pixels", value);
    case 'e':
        options->picture.events = true;
        return 0;
    case 'l':
        options->picture.layout_before = strcmp(value, "before") == 0;
        return options->picture.layout_before || strcmp(value, "after") == 0
                   ? 0
                   : refuse("--layout %s: must be before or after", value);
    case 'w':
        return parse_work(value, &options->picture)
                   ? 0
                   : refuse("--work %s: must be two numbers above 0, as in 1000:1200", value);
    case 'g':
        options->merge_threads = true;
        return 0;
    case 'r':
        options->rows = (uint32_t)strtoul(value, &end, 10);
        return *end == '\0' && options->rows > 0 ? 0 : refuse("--rows %s is no number", value);
    default:
        return EXIT_USAGE;
    }
}

static int fold(const struct options *options)
{
    struct stacks stacks;
    struct fold_counts counts;
    struct error error;
    stacks_init(&stacks);
    bool folded = fold_script(&stacks, options->files[0], options->merge_threads, &counts, &error);
    if (folded) {
        stacks_write(&stacks, stdout);
        fprintf(stderr,
                "samples=%llu whole=%.1f%% inferred=%.1f%% stacks=%zu weight=%llu switches=%llu\n",
                (unsigned long long)counts.samples,
                100.0 * (double)counts.whole / (double)counts.samples,
                100.0 * (double)counts.weight_inferred / (double)(counts.weight + !counts.weight),
                stacks.count, (unsigned long long)counts.weight,
                (unsigned long long)counts.switches);
    } else {
        fprintf(stderr, "pgweir-flame: %s\n", error.text);
    }
    stacks_fini(&stacks);
    return !folded;
}

static int show(const char *verb, struct options *options)
{
    struct stacks stacks;
    struct error error;
    stacks_init(&stacks);
    options->picture.diff = options->file_count == 2;
    bool good = stacks_read(&stacks, options->files[options->file_count - 1], STACKS_AFTER, &error);
    if (good && options->picture.diff)
        good = stacks_read(&stacks, options->files[0], STACKS_BEFORE, &error);
    stacks_merge(&stacks);
    if (good && strcmp(verb, "top") == 0)
        good = print_top(&stacks, &options->picture, options->rows, stdout, &error);
    else if (good)
        good = draw_svg(&stacks, &options->picture, stdout, &error);
    if (!good)
        fprintf(stderr, "pgweir-flame: %s\n", error.text);
    stacks_fini(&stacks);
    return !good;
}

/* 0, or the exit code. */
static int take_files(const char *verb, int argc, char **argv, struct options *options)
{
    bool diff = strcmp(verb, "diff") == 0, top = strcmp(verb, "top") == 0;
    options->file_count = argc - optind;
    if (options->file_count > (diff || top ? 2 : 1))
        return refuse("%s: too many files", verb);
    if (diff && options->file_count < 2)
        return refuse("%s needs two files, before and after", verb);
    for (int i = 0; i < options->file_count; i++)
        options->files[i] = argv[optind + i];
    if (options->file_count == 0) {
        options->files[0] = "-";
        options->file_count = 1;
    }
    if (options->file_count == 1 &&
        (options->picture.before_work > 0 || options->picture.layout_before))
        return refuse("--work and --layout are for two files, not for %s of one", verb);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"title", required_argument, NULL, 't'},   {"subtitle", required_argument, NULL, 's'},
        {"min", required_argument, NULL, 'm'},     {"events", no_argument, NULL, 'e'},
        {"layout", required_argument, NULL, 'l'},  {"work", required_argument, NULL, 'w'},
        {"merge-threads", no_argument, NULL, 'g'}, {"rows", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    const char *verb = argc > 1 ? argv[1] : "";
    if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (strncmp(verb, "--", 2) == 0)
        verb += 2; /* --diff is diff */
    bool folds = strcmp(verb, "fold") == 0;
    if (!folds && strcmp(verb, "draw") != 0 && strcmp(verb, "diff") != 0 &&
        strcmp(verb, "top") != 0)
        return refuse("\"%s\" is none of fold, draw, diff and top", verb);
    struct options options = {.picture.width_min = 0.8, .rows = TOP_ROWS};
    optind = 2;
    for (int option; (option = getopt_long(argc, argv, "h", long_options, NULL)) >= 0;) {
        if (option == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        int refused = parse_option(option, optarg, &options);
        if (refused != 0)
            return refused;
    }
    int refused = take_files(verb, argc, argv, &options);
    if (refused != 0)
        return refused;
    int result = folds ? fold(&options) : show(verb, &options);
    if (fflush(stdout) != 0) {
        perror("pgweir-flame: stdout");
        return EXIT_FAILURE;
    }
    return result;
}
