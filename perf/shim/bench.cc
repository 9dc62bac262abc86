// SPDX-License-Identifier: Apache-2.0
// The only C++ here: a thin layer under perf/shim/bench.h.
#include "perf/shim/bench.h"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>
#include <unistd.h>

struct bench {
    benchmark::State &state;
};

namespace
{

std::vector<std::pair<std::string, std::string>> headlines;

void add(const char *name, void (*run)(bench *), int64_t argument, int rounds)
{
    auto *registered = benchmark::RegisterBenchmark(name, [run](benchmark::State &state) {
        bench view{state};
        run(&view);
    });
    registered->Arg(argument);
    if (rounds > 0)
        registered->Iterations(rounds)->UseRealTime();
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

void bench_add(const char *name, void (*run)(bench *), int64_t argument)
{
    add(name, run, argument, 0);
}

void bench_add_rounds(const char *name, void (*run)(bench *), int64_t argument, int rounds)
{
    add(name, run, argument, rounds);
}

int64_t bench_argument(const bench *bench)
{
    return bench->state.range(0);
}

bool bench_next(bench *bench)
{
    return bench->state.KeepRunning();
}

void bench_items(bench *bench, uint64_t items_per_iteration)
{
    bench->state.SetItemsProcessed(
        static_cast<int64_t>(bench->state.iterations() * items_per_iteration));
}

void bench_bytes(bench *bench, uint64_t bytes_per_iteration)
{
    bench->state.SetBytesProcessed(
        static_cast<int64_t>(bench->state.iterations() * bytes_per_iteration));
}

void bench_counter(bench *bench, const char *name, double value)
{
    bench->state.counters[name] = value;
}

void bench_fail(bench *bench, const char *why)
{
    bench->state.SkipWithError(why);
}

void bench_headline(const char *headline, const char *name)
{
    headlines.emplace_back(headline, name);
}

int bench_main(int argc, char **argv)
{
    bool own_format = false;
    for (int i = 1; i < argc; i++)
        own_format |= std::string(argv[i]).rfind("--benchmark_format=", 0) == 0;
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
