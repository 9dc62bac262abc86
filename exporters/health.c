/* SPDX-License-Identifier: Apache-2.0 */
/* State of a destination for people. A back end that answers now well, now badly would fill the
 * log: lines are written for changes, and at most one in LOG_INTERVAL_NS. */
#include "exporters/health.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

static const uint64_t LOG_INTERVAL_NS = 10 * NS_PER_S;

void health_init(struct health *health, const char *id)
{
    *health = (struct health){.id = id, .well = true, .logged = true, .shown_well = true};
    CHECK(pthread_mutex_init(&health->lock, NULL) == 0);
}

void health_fini(struct health *health)
{
    pthread_mutex_destroy(&health->lock);
}

static void show(struct health *health, bool well, const char *text)
{
    CHECK(pthread_mutex_lock(&health->lock) == 0);
    health->shown_well = well;
    snprintf(health->shown_text, sizeof health->shown_text, "%s", text);
    CHECK(pthread_mutex_unlock(&health->lock) == 0);
}

static bool may_log(struct health *health, uint64_t now_ns)
{
    if (health->logged_ns != 0 && now_ns - health->logged_ns < LOG_INTERVAL_NS)
        return false;
    health->logged_ns = now_ns;
    return true;
}

void health_good(struct health *health, uint64_t now_ns)
{
    if (!health->well) {
        health->well = true;
        health->kind = 0;
        show(health, true, "");
    }
    if (!health->logged && may_log(health, now_ns)) {
        health->logged = true;
        LOG(LOG_LEVEL_INFO, "exporter", "delivering again", LOG_TEXT("exporter", health->id));
    }
}

void health_bad(struct health *health, int kind, const char *text, uint64_t now_ns)
{
    CHECK(kind != 0);
    if (health->kind == kind)
        return;
    health->well = false;
    health->kind = kind;
    show(health, false, text);
    if (may_log(health, now_ns)) {
        health->logged = false;
        LOG(LOG_LEVEL_WARN, "exporter", "not delivering", LOG_TEXT("exporter", health->id),
            LOG_TEXT("reason", text));
    }
}

bool health_read(const struct health *health, char *ret_text, size_t text_bytes)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&health->lock;
    CHECK(pthread_mutex_lock(lock) == 0);
    bool well = health->shown_well;
    snprintf(ret_text, text_bytes, "%s", health->shown_text);
    CHECK(pthread_mutex_unlock(lock) == 0);
    return well;
}
