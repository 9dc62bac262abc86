// SPDX-License-Identifier: Apache-2.0
// The only C++ here: a thin layer under perf/shim/bench.h.
#include "perf/shim/bench.h"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <regex>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

// Without valgrind's header the programs are complete but for --instructions.
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define HAVE_CALLGRIND 1
#else
#define HAVE_CALLGRIND 0
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_STOP_INSTRUMENTATION
#define CALLGRIND_DUMP_STATS_AT(name) static_cast<void>(name)
#endif

struct bench {
    benchmark::State *state; // nullptr: an exact run
    const bench_case *is;
    const char *name;
    // exact runs
    uint64_t turn, first, end, items;
    const char *failure;
};

namespace
{

constexpr int EXACT_ROUNDS = 20, EXACT_WARM_ROUNDS = 2;

std::vector<std::pair<std::string, std::string>> headlines;
std::deque<bench_case> own_cases; // those of bench_add()
std::vector<std::pair<std::string, const bench_case *>> registered;

std::string name_of(const bench_case &is)
{
    return is.argument == 0 ? is.name : is.name + ("/" + std::to_string(is.argument));
}

std::string label_of(const bench_case &is)
{
    std::string label = std::string("unit=") + (is.unit ? is.unit : "point");
    if (is.rounds > 0)
        label += " threads";
    return is.floor ? label + " floor=" + is.floor : label;
}

void add(const bench_case *is)
{
    std::string name = name_of(*is);
    registered.emplace_back(name, is);
    auto *benchmark = benchmark::RegisterBenchmark(name.c_str(), [is](benchmark::State &state) {
        bench view{&state, is, is->name, 0, 0, 0, 0, nullptr};
        is->run(&view);
        state.SetLabel(label_of(*is));
    });
    if (is->rounds > 0)
        benchmark->Iterations(is->rounds)->UseRealTime();
}

// "name rounds items unit floor" of each on stdout, its instructions in callgrind's dump of that
// name. The first, "empty", is the cost of bench_next() itself.
int run_exactly(const std::string &filter)
{
    static const bench_case empty = {"empty",
                                     [](bench *bench) {
                                         while (bench_next(bench))
                                             ;
                                         bench_items(bench, 1);
                                     },
                                     0,
                                     nullptr,
                                     "round",
                                     nullptr,
                                     0,
                                     1000};
    std::regex wanted(filter);
    registered.insert(registered.begin(), {"empty", &empty});
    for (const auto &[name, is] : registered) {
        uint64_t rounds = is->exact == 0 ? EXACT_ROUNDS : static_cast<uint64_t>(is->exact);
        if (is->exact < 0 || is->rounds > 0 || (is != &empty && !std::regex_search(name, wanted)))
            continue;
        bench view{nullptr, is,     name.c_str(), 0, EXACT_WARM_ROUNDS, EXACT_WARM_ROUNDS + rounds,
                   0,       nullptr};
        is->run(&view);
        if (view.failure) {
            std::fprintf(stderr, "%s: %s\n", name.c_str(), view.failure);
            continue;
        }
        std::printf("%s %llu %llu %s %s\n", name.c_str(), static_cast<unsigned long long>(rounds),
                    static_cast<unsigned long long>(view.items), is->unit ? is->unit : "point",
                    is->floor ? is->floor : "-");
    }
    return 0;
}

bool next_exactly(bench *bench)
{
    if (bench->failure)
        return false;
    if (bench->turn == bench->end) {
        CALLGRIND_STOP_INSTRUMENTATION;
        CALLGRIND_DUMP_STATS_AT(bench->name);
        return false;
    }
    if (bench->turn++ == bench->first) {
        CALLGRIND_START_INSTRUMENTATION;
        CALLGRIND_ZERO_STATS;
    }
    return true;
}

// The table as always, and the rate of every run for the headlines.
class Reporter : public benchmark::ConsoleReporter
{
  public:
    explicit Reporter(OutputOptions options) : ConsoleReporter(options)
    {
    }

    std::map<std::string, double> rates;

    void ReportRuns(const std::vector<Run> &runs) override
    {
        for (const Run &run : runs) {
            auto rate = run.counters.find("items_per_second");
            if (!run.error_occurred && rate != run.counters.end())
                rates[run.run_name.function_name] = rate->second;
        }
        ConsoleReporter::ReportRuns(runs);
    }
};

} // namespace

extern "C" {

void bench_add_cases(const bench_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add(&cases[i]);
}

void bench_add(const char *name, void (*run)(bench *), int64_t argument)
{
    own_cases.push_back({name, run, argument, nullptr, nullptr, nullptr, 0, 0});
    add(&own_cases.back());
}

int64_t bench_argument(const bench *bench)
{
    return bench->is->argument;
}

const void *bench_data(const bench *bench)
{
    return bench->is->data;
}

bool bench_next(bench *bench)
{
    return bench->state ? bench->state->KeepRunning() : next_exactly(bench);
}

void bench_items(bench *bench, uint64_t items_per_iteration)
{
    bench->items = items_per_iteration;
    if (bench->state)
        bench->state->SetItemsProcessed(
            static_cast<int64_t>(bench->state->iterations() * items_per_iteration));
}

void bench_bytes(bench *bench, uint64_t bytes_per_iteration)
{
    if (bench->state)
        bench->state->SetBytesProcessed(
            static_cast<int64_t>(bench->state->iterations() * bytes_per_iteration));
}

void bench_counter(bench *bench, const char *name, double value)
{
    if (bench->state)
        bench->state->counters[name] = value;
}

void bench_fail(bench *bench, const char *why)
{
    bench->failure = why;
    if (bench->state)
        bench->state->SkipWithError(why);
}

void bench_headline(const char *headline, const char *name)
{
    headlines.emplace_back(headline, name);
}

int bench_main(int argc, char **argv)
{
    bool own_format = false, exact = false;
    std::string filter = ".";
    for (int i = 1; i < argc; i++) {
        std::string argument = argv[i];
        own_format |= argument.rfind("--benchmark_format=", 0) == 0;
        exact |= argument == "--instructions";
        if (argument.rfind("--benchmark_filter=", 0) == 0)
            filter = argument.substr(std::strlen("--benchmark_filter="));
    }
    if (exact) {
        if (HAVE_CALLGRIND)
            return run_exactly(filter);
        std::fprintf(stderr, "%s: built without valgrind/callgrind.h (Debian: valgrind)\n",
                     argv[0]);
        return 1;
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 2;
    if (own_format) {
        benchmark::RunSpecifiedBenchmarks();
        return 0;
    }
    // Colours only for people.
    Reporter reporter{isatty(STDOUT_FILENO) ? benchmark::ConsoleReporter::OO_Defaults
                                            : benchmark::ConsoleReporter::OO_Tabular};
    benchmark::RunSpecifiedBenchmarks(&reporter);
    int missing = 0;
    for (const auto &[headline, name] : headlines) {
        auto rate = reporter.rates.find(name);
        if (rate == reporter.rates.end())
            missing = 1; // filtered out, or it failed
        else
            std::printf("%s %.2f ns\n", headline.c_str(), 1e9 / rate->second);
    }
    return missing;
}
}
