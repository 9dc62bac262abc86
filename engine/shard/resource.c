/* SPDX-License-Identifier: Apache-2.0 */
/* Resources are encoded once per target (and per pipeline that changes them) and copied into every
 * request after that. The instance id follows the OTel receiver, so that a fleet keeps its entities
 * when it moves from one to the other.
 * Source: contrib postgresqlreceiver (attribute rules), RFC 4122 §4.3 (UUIDv5). */
#include "shard/resource.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"

enum { ATTRIBUTES_MAX = 128 };

/* 4d63009a-8d0f-11ee-aad7-4c796ed8e320 */
static const uint8_t namespace_id[16] = {0x4d, 0x63, 0x00, 0x9a, 0x8d, 0x0f, 0x11, 0xee,
                                         0xaa, 0xd7, 0x4c, 0x79, 0x6e, 0xd8, 0xe3, 0x20};

static const char *const action_names[] = {"insert", "update", "upsert", "delete", NULL};

static const struct option action_options[] = {
    {.key = "key",
     .type = OPTION_TEXT,
     .offset = offsetof(struct resource_action, key),
     .required = true,
     .help = "name of the resource attribute"},
    {.key = "value",
     .type = OPTION_TEXT,
     .offset = offsetof(struct resource_action, value),
     .help = "its value (text)"},
    {.key = "from_attribute",
     .type = OPTION_TEXT,
     .offset = offsetof(struct resource_action, from_attribute),
     .help = "take the value of this resource attribute instead"},
    {.key = "action",
     .type = OPTION_ENUM,
     .offset = offsetof(struct resource_action, action),
     .choices = action_names,
     .required = true,
     .help = "insert where absent, update where present, upsert, or delete"},
    {0},
};

static const struct option_table action_table = {sizeof(struct resource_action), action_options};

static const struct option resource_options[] = {
    {.key = "attributes",
     .type = OPTION_GROUP_LIST,
     .offset = offsetof(struct resource_settings, attributes),
     .table = &action_table,
     .required = true,
     .help = "changes, made in this order"},
    {0},
};

static bool validate(const void *settings, struct error *error)
{
    const struct resource_settings *resource = settings;
    const struct resource_action *actions = resource->attributes.items;
    for (size_t i = 0; i < resource->attributes.count; i++) {
        bool valued = actions[i].value != NULL || actions[i].from_attribute != NULL;
        if (actions[i].action != RESOURCE_DELETE && !valued)
            return error_set(error,
                             "attributes: \"%s\": action %s needs `value` or `from_attribute`",
                             actions[i].key, action_names[actions[i].action]);
        if (strlen(actions[i].key) > LIMIT_ATTRIBUTE_NAME_BYTES)
            return error_set(error, "attributes: the name \"%.40s…\" has over %d bytes",
                             actions[i].key, LIMIT_ATTRIBUTE_NAME_BYTES);
    }
    return true;
}

const struct component resource_processor = {
    .kind = COMPONENT_PROCESSOR,
    .type = "resource",
    .about = "adds, changes and removes resource attributes",
    .stability = "beta",
    .table = {sizeof(struct resource_settings), resource_options},
    .validate = validate,
};

static atomic_flag cut_said = ATOMIC_FLAG_INIT; /* of any shard */

/* A resource under change: attributes as read back, pointing into `base` or settings. */
struct draft {
    struct attr attributes[ATTRIBUTES_MAX];
    size_t count;
};

static struct attr *draft_find(struct draft *draft, const char *key)
{
    for (size_t i = 0; i < draft->count; i++)
        if (draft->attributes[i].key_bytes == strlen(key) &&
            memcmp(draft->attributes[i].key, key, strlen(key)) == 0)
            return &draft->attributes[i];
    return NULL;
}

static void draft_act(struct draft *draft, const struct resource_action *action)
{
    struct attr *present = draft_find(draft, action->key);
    if (action->action == RESOURCE_DELETE) {
        if (present != NULL)
            *present = draft->attributes[--draft->count];
        return;
    }
    if ((action->action == RESOURCE_INSERT && present != NULL) ||
        (action->action == RESOURCE_UPDATE && present == NULL))
        return;
    struct attr value = {.kind = ATTR_TEXT, .text = action->value};
    if (action->from_attribute != NULL) {
        const struct attr *source = draft_find(draft, action->from_attribute);
        if (source == NULL)
            return;
        value = *source;
    } else {
        value.text_bytes = strlen(action->value);
    }
    value.key = action->key;
    value.key_bytes = strlen(action->key);
    if (present != NULL)
        *present = value;
    else if (draft->count < ATTRIBUTES_MAX)
        draft->attributes[draft->count++] = value;
}

static struct attrs *draft_finish(const struct draft *draft)
{
    static _Thread_local struct attrs_builder builder;
    attrs_begin(&builder, ATTRS_RESOURCE);
    for (size_t i = 0; i < draft->count; i++) {
        const struct attr *attr = &draft->attributes[i];
        char key[256];
        snprintf(key, sizeof key, "%.*s", (int)attr->key_bytes, attr->key);
        switch (attr->kind) {
        case ATTR_TEXT:
            attrs_add_text(&builder, key, attr->text, attr->text_bytes);
            break;
        case ATTR_INT:
            attrs_add_int(&builder, key, attr->number);
            break;
        case ATTR_DOUBLE:
            attrs_add_double(&builder, key, attr->real);
            break;
        case ATTR_BOOL:
            attrs_add_bool(&builder, key, attr->number != 0);
            break;
        }
    }
    if (builder.cut > 0 && !atomic_flag_test_and_set(&cut_said))
        LOG(LOG_LEVEL_WARN, "shard",
            "a resource has more attributes than back ends take, or larger ones: remove some",
            LOG_NUMBER("cut", builder.cut), LOG_NUMBER("limit", LIMIT_RESOURCE_ATTRIBUTES));
    return attrs_finish(&builder);
}

static struct attrs *build_variant(const struct attrs *base, const struct resource_chain *chain)
{
    struct draft draft = {.count = 0};
    size_t position = 0;
    while (draft.count < ATTRIBUTES_MAX &&
           attrs_next(base, &position, &draft.attributes[draft.count]))
        draft.count++;
    for (size_t step = 0; step < chain->step_count; step++) {
        const struct resource_action *actions = chain->steps[step]->attributes.items;
        for (size_t i = 0; i < chain->steps[step]->attributes.count; i++)
            draft_act(&draft, &actions[i]);
    }
    return draft_finish(&draft);
}

struct resource *resource_create(const struct attrs *base, const struct resource_chains *chains)
{
    struct resource *resource = xcalloc(1, sizeof *resource);
    CHECK(chains->count >= 1 && chains->count <= LIMIT_PIPELINES);
    for (uint32_t i = 0; i < chains->count; i++)
        resource->variants[i] = build_variant(base, &chains->chains[i]);
    return resource;
}

void resource_destroy(struct resource **resource)
{
    if (*resource == NULL)
        return;
    for (uint32_t i = 0; i < LIMIT_PIPELINES; i++)
        free((void *)(uintptr_t)(*resource)->variants[i]);
    free(*resource);
    *resource = NULL;
}

static const char *machine_name(void)
{
    static _Thread_local char name[256];
    if (gethostname(name, sizeof name - 1) != 0)
        snprintf(name, sizeof name, "localhost");
    return name;
}

const char *resource_public_host(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    bool loopback = host[0] == '/' || strcmp(host, "localhost") == 0 ||
                    (inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127) ||
                    (inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
    return loopback ? machine_name() : host;
}

/* 127.0.0.2 and its like: tunnels and stand-ins that share this machine's name, not its servers. */
static bool is_other_loopback(const char *host)
{
    struct in_addr v4;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127 &&
           ntohl(v4.s_addr) != INADDR_LOOPBACK;
}

void resource_instance_id(const char *host, uint16_t port, char ret_id[37])
{
    uint8_t seed[1024];
    size_t used = sizeof namespace_id;
    memcpy(seed, namespace_id, used);
    char *text = (char *)seed + used;
    size_t room = sizeof seed - used;
    if (host[0] == '/')
        used += (size_t)snprintf(text, room, "unix%c%s%c%.512s", 0, machine_name(), 0, host);
    else if (is_other_loopback(host))
        used += (size_t)snprintf(text, room, "%s/%.512s:%u", machine_name(), host, port);
    else
        used += (size_t)snprintf(text, room, "%.512s:%u", resource_public_host(host), port);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_bytes = 0;
    xdone(EVP_Digest(seed, used, digest, &digest_bytes, EVP_sha1(), NULL) == 1);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x50);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    for (size_t i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret_id[at++] = '-';
        at += (size_t)snprintf(ret_id + at, 37 - at, "%02x", digest[i]);
    }
}
