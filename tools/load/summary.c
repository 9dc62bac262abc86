/* SPDX-License-Identifier: Apache-2.0 */
/* The text summary. Pure functions. */
#include "tools/load/summary.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "config/value.h"
#include "tools/load/views.h"

static void put_latency(FILE *out, const char *name, const struct histogram_view *view)
{
    if (view->count == 0)
        return;
    fprintf(out, "%-12s p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  p99.99 %.2f  max %.2f ms\n", name,
            view_ms(view, 0.5), view_ms(view, 0.9), view_ms(view, 0.99), view_ms(view, 0.999),
            view_ms(view, 0.9999), view_ms(view, 1));
}

static void put_threads(FILE *out, const struct outcome *outcome)
{
    fprintf(out, "CPU          %.3f cores: ", outcome->figures.cpu_cores);
    const char *separator = "";
    for (uint32_t i = 0; i < outcome->thread_count; i++) {
        double cores = (double)outcome->threads[i].cpu_ns / 1e9 / outcome->figures.seconds;
        if (cores < 0.0005)
            continue;
        fprintf(out, "%s%s %.3f%s", separator, outcome->threads[i].name, cores,
                strcmp(outcome->threads[i].name, "admin") == 0 ? " (asked by us, not counted)"
                                                               : "");
        separator = ", ";
    }
    fprintf(out, "\n             %.3f µs per point, %.1f µs per collection\n",
            outcome->figures.cpu_us_per_point, outcome->figures.cpu_us_per_scrape);
    for (uint32_t i = 0; i < outcome->other_count; i++)
        fprintf(out, "beside it    %s %.3f cores, %.0f MiB\n", outcome->others[i].program,
                outcome->others[i].cpu_cores, outcome->others[i].rss_mib);
}

static void put_slopes(FILE *out, const struct slopes *slopes)
{
    if (slopes->known)
        fprintf(out,
                "slopes       RSS %+.0f ± %.0f KiB/h, descriptors %+.2f ± %.2f /h, lag p99 %+.2f ± "
                "%.2f ms/h\n",
                slopes->rss_kib_per_h, slopes->rss_error_kib_per_h, slopes->descriptors_per_h,
                slopes->descriptors_error_per_h, slopes->lag_ms_per_h, slopes->lag_error_ms_per_h);
}

static void put_books(FILE *out, const struct figures *figures)
{
    fprintf(out, "books        ");
    if (figures->lost >= 0)
        fprintf(out, "lost %lld, ", (long long)figures->lost);
    if (figures->doubled >= 0)
        fprintf(out, "doubled %lld, ", (long long)figures->doubled);
    fprintf(out, "rejected %llu, dropped %llu; collections failed %llu, skipped %llu",
            (unsigned long long)figures->rejected, (unsigned long long)figures->dropped,
            (unsigned long long)figures->failed, (unsigned long long)figures->skipped);
    if (figures->voided > 0)
        fprintf(out, "; %llu values in answers that were cut off",
                (unsigned long long)figures->voided);
    fputc('\n', out);
}

static void put_traffic(FILE *out, const struct figures *figures)
{
    fprintf(out, "back end     %.2f requests/s, %.1f KiB/s, %.2f bytes per point\n",
            figures->requests_per_s, figures->bytes_per_s / 1024, figures->bytes_per_point);
    if (isfinite(figures->server_bytes_per_s))
        fprintf(out, "servers      %llu connections, %.1f KiB/s\n",
                (unsigned long long)figures->connections, figures->server_bytes_per_s / 1024);
    else
        fprintf(out, "servers      %llu connections\n", (unsigned long long)figures->connections);
    if (isfinite(figures->syscalls_per_scrape))
        fprintf(out, "system calls %.1f per collection\n", figures->syscalls_per_scrape);
}

void summary_print(const struct scenario *scenario, const struct outcome *outcome, FILE *out)
{
    const struct figures *figures = &outcome->figures;
    char interval[VALUE_TEXT_BYTES];
    value_format_duration(scenario->interval_ns, interval);
    fprintf(out, "%s: %llu servers every %s, measured %.1f s\n", scenario->name,
            (unsigned long long)figures->servers, interval, figures->seconds);
    fprintf(out, "collected    %llu collections (%.0f expected), %llu points, %.0f points/s\n",
            (unsigned long long)figures->scrapes, figures->expected_scrapes,
            (unsigned long long)figures->points, figures->points_per_s);
    put_latency(out, "lag", &outcome->lag);
    put_latency(out, "scrape", &outcome->scrape);
    put_latency(out, "age", &outcome->age);
    if (strcmp(outcome->age_source, "sink") != 0)
        put_latency(out, "sink's age", &outcome->sink_age);
    put_threads(out, outcome);
    fprintf(out, "memory       %.1f MiB (%.1f MiB with one server): %.1f KiB per server\n",
            figures->rss_mib, figures->rss_baseline_mib, figures->rss_kib_per_server);
    put_traffic(out, figures);
    put_books(out, figures);
    put_slopes(out, &outcome->slopes);
    for (uint32_t i = 0; i < outcome->check_count; i++)
        fprintf(out, "%-12s %s: %s\n", outcome->checks[i].ok ? "ok" : "FAILED",
                outcome->checks[i].name, outcome->checks[i].detail);
    for (uint32_t i = 0; i < outcome->note_count; i++)
        fprintf(out, "note         %s\n", outcome->notes[i]);
}

static void put_real(FILE *out, const char *key, double value)
{
    if (isfinite(value))
        fprintf(out, " %s=%.6g", key, value);
    else
        fprintf(out, " %s=na", key);
}

static void put_whole(FILE *out, const char *key, int64_t value)
{
    if (value >= 0)
        fprintf(out, " %s=%lld", key, (long long)value);
    else
        fprintf(out, " %s=na", key);
}

static double p99(const struct histogram_view *view)
{
    return view->count > 0 ? view_ms(view, 0.99) : (double)NAN;
}

void summary_print_last_line(const struct outcome *outcome, FILE *out)
{
    const struct figures *figures = &outcome->figures;
    fprintf(out, "servers=%llu", (unsigned long long)figures->servers);
    put_real(out, "lag_p99_ms", p99(&outcome->lag));
    put_real(out, "age_p99_ms", p99(&outcome->age));
    put_real(out, "points_per_s", figures->points_per_s);
    put_whole(out, "lost", figures->lost);
    put_whole(out, "doubled", figures->doubled);
    put_real(out, "cpu_us_per_point", figures->cpu_us_per_point);
    put_real(out, "rss_kib_per_server", figures->rss_kib_per_server);
    fputc('\n', out);
}

void summary_print_steps(const struct outcome *outcome, size_t knee, FILE *out)
{
    fprintf(out, "%9s %9s %12s %12s %12s %7s %9s %6s\n", "servers", "interval", "points/s",
            "lag p99 ms", "age p99 ms", "cores", "RSS MiB", "lost");
    for (size_t i = 0; i < outcome->step_count; i++) {
        const struct step *step = &outcome->steps[i];
        fprintf(out, "%9llu %8.3gs %12.0f %12.2f %12.1f %7.3f %9.1f %6lld  %s%s%s\n",
                (unsigned long long)step->servers, step->interval_s, step->points_per_s,
                step->lag_p99_ms, step->age_p99_ms, step->cpu_cores, step->rss_mib,
                (long long)step->lost, step->ok ? "ok" : "broken: ", step->ok ? "" : step->why,
                i == knee ? "   <- knee" : "");
    }
}
