/* SPDX-License-Identifier: Apache-2.0 */
/* A flame graph. Stacks are sorted, so one pass suffices: each stack closes the frames that it does
 * not share with the one before, and opens its own. A closed frame is drawn: where it opened is its
 * left edge, where it closes its right. What is narrower than a pixel or so is left out, which
 * keeps pictures small whatever the profile's size. */
#include "tools/flame/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "tools/flame/frame.h"

/* page/flame.css and page/flame.js, compiled in. */
extern const char flame_css_begin[], flame_css_end[], flame_js_begin[], flame_js_end[];

enum { WIDTH = 1200, MARGIN = 10, HEAD = 78, FOOT = 34, STEP = 17, DEPTH_MAX = 1024 };
enum { SHADES = 4, CHANGES = 5 };
static const double CHARACTER = 6.62; /* of the 11 px monospaced face */
static const double SAMPLE_US = 1003; /* one sample at 997 Hz: the grain of a profile */
static const double DEVIATIONS = 2;

struct open_frame {
    const char *name;
    size_t bytes;
    double from;
    double before, after; /* sums at the time it opened */
};

struct drawing {
    const struct picture *picture;
    FILE *out;
    double total_before, total_after;
    double scale; /* pixels per weight */
    uint32_t height;
    uint32_t drawn[FAMILY_COUNT];
    struct open_frame open[DEPTH_MAX];
    size_t open_count;
    double at, before, after; /* sums of all stacks so far */
};

static void write_text(FILE *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        switch (text[i]) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        default:
            /* Control characters are no XML, whatever way they are written. */
            fputc((unsigned char)text[i] < ' ' ? '?' : text[i], out);
        }
}

static void write_weight(FILE *out, double weight, bool events)
{
    if (events)
        fprintf(out, "%.0f events", weight);
    else if (weight < 1e3)
        fprintf(out, "%.0f µs", weight);
    else if (weight < 1e6)
        fprintf(out, "%.1f ms", weight / 1e3);
    else
        fprintf(out, "%.2f s", weight / 1e6);
}

/* The same name has the same shade everywhere. */
static uint32_t shade_of(const char *name, size_t bytes)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    return (hash >> 8) % SHADES;
}

/* Before and after made comparable: per work done, else as shares. */
static double part_before(const struct drawing *drawing, double weight)
{
    double whole =
        drawing->picture->before_work > 0 ? drawing->picture->before_work : drawing->total_before;
    return whole > 0 ? weight / whole : 0;
}

static double part_after(const struct drawing *drawing, double weight)
{
    double whole =
        drawing->picture->after_work > 0 ? drawing->picture->after_work : drawing->total_after;
    return whole > 0 ? weight / whole : 0;
}

/* -CHANGES (much less) to CHANGES (much more); 0 also where the change is within the noise of
 * counting samples. */
static int change_of(const struct drawing *drawing, double before, double after)
{
    double was = part_before(drawing, before), is = part_after(drawing, after);
    double grain = drawing->picture->events ? 1 : SAMPLE_US;
    double noise =
        hypot(part_before(drawing, sqrt(before * grain)), part_after(drawing, sqrt(after * grain)));
    if (fabs(is - was) <= DEVIATIONS * noise)
        return 0;
    double ratio = (is - was) / fmax(is, was);
    int change = (int)lround(ratio * 2 * CHANGES);
    if (change == 0)
        change = ratio > 0 ? 1 : -1;
    return change > CHANGES ? CHANGES : change < -CHANGES ? -CHANGES : change;
}

static void write_details(const struct drawing *drawing, const struct open_frame *frame,
                          double before, double after)
{
    const struct picture *picture = drawing->picture;
    FILE *out = drawing->out;
    fputs("<title>", out);
    write_text(out, frame->name, frame->bytes);
    fputs(": ", out);
    if (!picture->diff) {
        write_weight(out, after, picture->events);
        fprintf(out, ", %.2f %%", 100 * after / drawing->total_after);
    } else {
        double was = part_before(drawing, before), is = part_after(drawing, after);
        write_weight(out, before, picture->events);
        fputs(" → ", out);
        write_weight(out, after, picture->events);
        if (picture->before_work > 0)
            fprintf(out, ", per unit of work %.4g → %.4g", was, is);
        else
            fprintf(out, ", %.2f %% → %.2f %%", 100 * was, 100 * is);
        if (was > 0)
            fprintf(out, " (%+.0f %%)", 100 * (is - was) / was);
    }
    fputs("</title>", out);
}

static void write_frame(struct drawing *drawing, size_t depth, const struct open_frame *frame)
{
    double width = (drawing->at - frame->from) * drawing->scale;
    if (width < drawing->picture->width_min)
        return;
    FILE *out = drawing->out;
    double x = MARGIN + frame->from * drawing->scale;
    double y = drawing->height - FOOT - ((double)depth + 1) * STEP;
    double before = drawing->before - frame->before, after = drawing->after - frame->after;
    fputs("<g>", out);
    write_details(drawing, frame, before, after);
    char colour[16];
    if (drawing->picture->diff) {
        int change = change_of(drawing, before, after);
        snprintf(colour, sizeof colour, "%s%d", change < 0 ? "less" : "more", abs(change));
    } else if (depth == 0) {
        snprintf(colour, sizeof colour, "all");
    } else {
        enum frame_family family =
            depth == 1 ? FAMILY_OTHER : frame_family(frame->name, frame->bytes);
        drawing->drawn[family] += depth > 1;
        snprintf(colour, sizeof colour, "f%d%u", (int)family, shade_of(frame->name, frame->bytes));
    }
    fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"%d\"/>", colour,
            x, y, width, STEP - 1);
    size_t characters = (size_t)fmax(0, (width - 6) / CHARACTER);
    if (characters >= 3) {
        fprintf(out, "<text x=\"%.1f\" y=\"%.0f\">", x + 3, y + 12);
        bool cut = characters < frame->bytes;
        write_text(out, frame->name, cut ? characters - 2 : frame->bytes);
        fputs(cut ? "..</text>" : "</text>", out);
    }
    fputs("</g>\n", out);
}

/* Closes frames until `depth` are left. */
static void close_frames(struct drawing *drawing, size_t depth)
{
    while (drawing->open_count > depth) {
        drawing->open_count--;
        write_frame(drawing, drawing->open_count, &drawing->open[drawing->open_count]);
    }
}

static void open_frame(struct drawing *drawing, const char *name, size_t bytes)
{
    CHECK(drawing->open_count < DEPTH_MAX);
    drawing->open[drawing->open_count++] = (struct open_frame){
        .name = name,
        .bytes = bytes,
        .from = drawing->at,
        .before = drawing->before,
        .after = drawing->after,
    };
}

static void add_stack(struct drawing *drawing, const char *text, const struct stack *stack)
{
    size_t depth = 1;
    bool common = true;
    for (const char *at = text; at != NULL && depth < DEPTH_MAX; depth++) {
        size_t bytes = strcspn(at, ";");
        const struct open_frame *open = &drawing->open[depth];
        common = common && depth < drawing->open_count && open->bytes == bytes &&
                 memcmp(open->name, at, bytes) == 0;
        if (!common) {
            close_frames(drawing, depth);
            open_frame(drawing, at, bytes);
        }
        at = at[bytes] == ';' ? at + bytes + 1 : NULL;
    }
    close_frames(drawing, depth);
    drawing->before += (double)stack->before;
    drawing->after += (double)stack->after;
    drawing->at = drawing->picture->layout_before ? drawing->before : drawing->after;
}

static size_t depth_of(const struct stacks *stacks, const struct picture *picture,
                       double weight_min)
{
    size_t deepest = 1;
    for (size_t i = 0; i < stacks->count; i++) {
        size_t depth = 2;
        double weight =
            (double)(picture->layout_before ? stacks->items[i].before : stacks->items[i].after);
        for (const char *at = stacks_text(stacks, i); *at != '\0'; at++)
            depth += *at == ';';
        if (weight >= weight_min && depth > deepest)
            deepest = depth;
    }
    return deepest < DEPTH_MAX ? deepest : DEPTH_MAX;
}

static void write_head(const struct drawing *drawing)
{
    const struct picture *picture = drawing->picture;
    FILE *out = drawing->out;
    const char *title = picture->title != NULL ? picture->title : "Flame graph";
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %u\" width=\"%d\" "
            "height=\"%u\" role=\"img\" data-margin=\"%d\">\n<title>",
            WIDTH, drawing->height, WIDTH, drawing->height, MARGIN);
    write_text(out, title, strlen(title));
    fputs("</title>\n<style>", out);
    fwrite(flame_css_begin, 1, (size_t)(flame_css_end - flame_css_begin), out);
    fprintf(out, "</style>\n<rect class=\"paper\" width=\"%d\" height=\"%u\"/>\n", WIDTH,
            drawing->height);
    fprintf(out, "<text class=\"head\" x=\"%d\" y=\"26\">", MARGIN);
    write_text(out, title, strlen(title));
    fputs("</text>\n", out);
    if (picture->subtitle != NULL) {
        fprintf(out, "<text class=\"soft\" x=\"%d\" y=\"45\">", MARGIN);
        write_text(out, picture->subtitle, strlen(picture->subtitle));
        fputs("</text>\n", out);
    }
}

/* A coloured square with a name; returns where the next one goes. */
static double write_key(FILE *out, double x, const char *colour, const char *name)
{
    fprintf(out,
            "<rect class=\"%s\" x=\"%.0f\" y=\"56\" width=\"11\" height=\"11\"/>"
            "<text class=\"soft\" x=\"%.0f\" y=\"66\">%s</text>\n",
            colour, x, x + 16, name);
    return x + 16 + 7.0 * (double)strlen(name) + 18;
}

static void write_legend(const struct drawing *drawing)
{
    double x = MARGIN;
    if (drawing->picture->diff) {
        x = write_key(drawing->out, x, "less5", "half as much or gone");
        x = write_key(drawing->out, x, "less2", "less");
        x = write_key(drawing->out, x, "more0", "the same, or within the noise");
        x = write_key(drawing->out, x, "more2", "more");
        write_key(drawing->out, x, "more5", "twice as much or new");
        return;
    }
    for (enum frame_family family = 0; family < FAMILY_COUNT; family++)
        if (drawing->drawn[family] > 0) {
            char colour[16];
            snprintf(colour, sizeof colour, "f%d1", (int)family);
            x = write_key(drawing->out, x, colour, frame_family_name(family));
        }
}

/* Everything behind the frames; the script comes last, when all else is there. */
static void write_foot(const struct drawing *drawing)
{
    FILE *out = drawing->out;
    fputs("</g>\n", out);
    write_legend(drawing);
    fprintf(out, "<text id=\"details\" x=\"%d\" y=\"%u\">", MARGIN, drawing->height - 12);
    write_weight(out,
                 drawing->picture->layout_before ? drawing->total_before : drawing->total_after,
                 drawing->picture->events);
    fputs(" in all. In a browser: a click zooms in, the wide frame at the bottom out again."
          "</text>\n<script><![CDATA[\n",
          out);
    fwrite(flame_js_begin, 1, (size_t)(flame_js_end - flame_js_begin), out);
    fputs("]]></script>\n</svg>\n", out);
}

bool draw_svg(const struct stacks *stacks, const struct picture *picture, FILE *out,
              struct error *error)
{
    struct drawing *drawing = xcalloc(1, sizeof *drawing);
    drawing->picture = picture;
    drawing->out = out;
    drawing->total_before = (double)stacks_total(stacks, STACKS_BEFORE);
    drawing->total_after = (double)stacks_total(stacks, STACKS_AFTER);
    double total = picture->layout_before ? drawing->total_before : drawing->total_after;
    if (total <= 0) {
        free(drawing);
        return error_set(error, "nothing to draw: all weights are 0");
    }
    drawing->scale = (WIDTH - 2 * MARGIN) / total;
    size_t depth = depth_of(stacks, picture, picture->width_min / drawing->scale);
    drawing->height = (uint32_t)(HEAD + depth * STEP + FOOT);
    write_head(drawing);
    fputs("<g id=\"frames\">\n", out);
    open_frame(drawing, "all", 3);
    for (size_t i = 0; i < stacks->count; i++)
        add_stack(drawing, stacks_text(stacks, i), &stacks->items[i]);
    close_frames(drawing, 0);
    write_foot(drawing);
    free(drawing);
    return true;
}
