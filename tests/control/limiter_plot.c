/* SPDX-License-Identifier: Apache-2.0 */
/* limiter_plot DIR: the scenarios of one seed as pictures, one self-contained SVG each: what was
 * sent, accepted and refused per second, what the law allowed and what the back end takes.
 * Pictures in docs/pictures/limiter-*.svg are made by it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/control/scenarios.h"

enum {
    WIDTH = 900,
    HEIGHT = 330,
    LEFT = 62,
    RIGHT = 16,
    TOP = 58,
    BOTTOM = 42,
    PLOT_WIDTH = WIDTH - LEFT - RIGHT,
    PLOT_HEIGHT = HEIGHT - TOP - BOTTOM,
    SEED = 4,
};

static struct sim_result result;

/* A line of the picture. */
struct curve {
    const char *name, *colour, *style;
    double (*value)(const struct sim_second *second);
};

static double hidden_of(const struct sim_second *second)
{
    return second->hidden;
}

static double limit_of(const struct sim_second *second)
{
    return second->limit;
}

static double accepted_of(const struct sim_second *second)
{
    return second->accepted;
}

static double rejected_of(const struct sim_second *second)
{
    return second->rejected;
}

static double failed_of(const struct sim_second *second)
{
    return second->failed;
}

static const struct curve curves[] = {
    {"the back end's limit", "#9a9a9a", "stroke-dasharray=\"6 4\" stroke-width=\"1.6\"", hidden_of},
    {"allowed by the law", "#c77700", "stroke-width=\"1.4\"", limit_of},
    {"accepted", "#0b6fb8", "stroke-width=\"1.6\"", accepted_of},
    {"refused (429)", "#c4183c", "stroke-width=\"1.6\"", rejected_of},
    {"failed", "#7a3fa0", "stroke-width=\"1.6\"", failed_of},
};
enum { CURVES = sizeof curves / sizeof *curves };

/* 1, 2 or 5 times a power of ten, so that at most `most` of them fit. */
static double tick_of(double range, int most)
{
    double tick = pow(10, floor(log10(range / most)));
    static const double factors[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (range / (tick * factors[i]) <= most)
            return tick * factors[i];
    return tick * 10;
}

/* What the picture must hold: the limits of the law may be far above for a moment. */
static double highest(void)
{
    double most = 1;
    for (uint32_t i = 0; i < result.count; i++) {
        const struct sim_second *second = &result.seconds[i];
        most = fmax(most, fmax(second->hidden, fmax(second->accepted, second->rejected)));
    }
    return most * 1.08;
}

static double x_of(double second)
{
    return LEFT + PLOT_WIDTH * second / result.count;
}

static double y_of(double value, double top)
{
    return TOP + PLOT_HEIGHT * (1 - fmin(value, top) / top);
}

static void draw_axes(FILE *file, double top)
{
    double tick = tick_of(top, 5);
    for (double value = 0; value <= top; value += tick) {
        double y = y_of(value, top);
        fprintf(file, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e2e2e2\"/>\n",
                LEFT, WIDTH - RIGHT, y, y);
        fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 8, y + 4,
                value);
    }
    tick = tick_of(result.count, 10);
    for (double second = 0; second <= result.count; second += tick)
        fprintf(file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", x_of(second),
                HEIGHT - BOTTOM + 18, second);
    fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">seconds</text>\n",
            LEFT + PLOT_WIDTH / 2, HEIGHT - 8);
    fprintf(file,
            "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">requests/s"
            "</text>\n",
            TOP + PLOT_HEIGHT / 2);
}

static bool is_used(const struct curve *curve)
{
    for (uint32_t i = 0; i < result.count; i++)
        if (curve->value(&result.seconds[i]) > 0)
            return true;
    return false;
}

/* Gaps where there is no value: a limit that does not exist is not one of zero. */
static void draw_curve(FILE *file, const struct curve *curve, double top)
{
    bool down = false, gaps = curve->value == limit_of || curve->value == hidden_of;
    fprintf(file, "<path fill=\"none\" stroke=\"%s\" %s d=\"", curve->colour, curve->style);
    for (uint32_t i = 0; i < result.count; i++) {
        double value = curve->value(&result.seconds[i]);
        if (gaps && value <= 0) {
            down = false;
            continue;
        }
        fprintf(file, "%s%.1f %.1f", down ? "L" : "M", x_of(i + 0.5), y_of(value, top));
        down = true;
    }
    fputs("\"/>\n", file);
}

static void draw_outage(FILE *file, const struct sim_backend *backend)
{
    if (backend->outage_to_s > 0)
        fprintf(file, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#f3e9f7\"/>\n",
                x_of(backend->outage_from_s), TOP,
                x_of(backend->outage_to_s) - x_of(backend->outage_from_s), PLOT_HEIGHT);
}

static bool draw(const struct sim_scenario *scenario, const char *directory, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/limiter-%s.svg", directory, name);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        return false;
    }
    sim_run(scenario, SEED, &result);
    double top = highest();
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
            "<text x=\"%d\" y=\"20\" font-size=\"14\" font-weight=\"bold\">%s</text>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, scenario->title);
    draw_outage(file, &scenario->backend);
    draw_axes(file, top);
    int x = LEFT;
    for (size_t i = 0; i < CURVES; i++) {
        if (!is_used(&curves[i]))
            continue;
        draw_curve(file, &curves[i], top);
        fprintf(file,
                "<line x1=\"%d\" x2=\"%d\" y1=\"40\" y2=\"40\" stroke=\"%s\" %s/>\n"
                "<text x=\"%d\" y=\"44\">%s</text>\n",
                x, x + 24, curves[i].colour, curves[i].style, x + 30, curves[i].name);
        bool one = curves[i].value == limit_of && scenario->clients > 1;
        if (one)
            fprintf(file, "<text x=\"%d\" y=\"44\">(to one of them)</text>\n", x + 146);
        x += (one ? 162 : 60) + 7 * (int)strlen(curves[i].name);
    }
    fputs("</svg>\n", file);
    bool written = ferror(file) == 0;
    written = fclose(file) == 0 && written;
    if (!written)
        perror(path);
    else
        printf("%s: sent %lu, accepted %lu, refused %lu, failed %lu\n", path,
               (unsigned long)result.sent, (unsigned long)result.accepted,
               (unsigned long)result.rejected, (unsigned long)result.failed);
    return written;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: limiter_plot DIR\n");
        return 2;
    }
    for (int id = 0; id < SCENARIO_COUNT; id++)
        if (!draw(&scenarios[id], argv[1], scenarios[id].name))
            return EXIT_FAILURE;
    static const char *const names[][2] = {
        [SIM_WINDOW] = {"hidden-window", "hidden-window-hint"},
        [SIM_SLIDING] = {"hidden-sliding", "hidden-sliding-hint"},
        [SIM_BUCKET] = {"hidden-bucket", "hidden-bucket-hint"},
    };
    for (enum sim_counting counting = SIM_WINDOW; counting <= SIM_BUCKET; counting++)
        for (int hint = 0; hint < 2; hint++) {
            struct sim_scenario scenario = scenario_hidden(500, counting, hint);
            if (!draw(&scenario, argv[1], names[counting][hint]))
                return EXIT_FAILURE;
        }
    return EXIT_SUCCESS;
}
