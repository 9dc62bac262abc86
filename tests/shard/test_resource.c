/* SPDX-License-Identifier: Apache-2.0 */
/* Resources: the OTel receiver's instance ids, and the `resource` processor's actions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shard/resource.h"

static struct attrs_builder builder;

static void instance_id_is_uuid5_of_host_and_port(void **state)
{
    (void)state;
    char id[37];
    resource_instance_id("db1.example", 5432, id);
    /* python3 -c 'import uuid; print(uuid.uuid5(uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320"),
     * "db1.example:5432"))' */
    assert_string_equal(id, "ff0df156-5ee9-5fb4-bb79-36cf93100713");
    char other[37];
    resource_instance_id("db1.example", 5433, other);
    assert_string_not_equal(id, other);
}

static void loopback_takes_the_machines_name(void **state)
{
    (void)state;
    char name[256];
    assert_int_equal(gethostname(name, sizeof name), 0);
    assert_string_equal(resource_public_host("localhost"), name);
    assert_string_equal(resource_public_host("127.8.9.1"), name);
    assert_string_equal(resource_public_host("::1"), name);
    assert_string_equal(resource_public_host("/var/run/postgresql"), name);
    assert_string_equal(resource_public_host("10.0.0.1"), "10.0.0.1");
    assert_string_equal(resource_public_host("localhost.example"), "localhost.example");
    char by_name[37], by_address[37];
    resource_instance_id(name, 5432, by_name);
    resource_instance_id("127.0.0.1", 5432, by_address);
    assert_string_equal(by_name, by_address);
    char by_other[37], by_third[37]; /* tunnels on addresses of their own are other servers */
    resource_instance_id("127.0.0.2", 5432, by_other);
    resource_instance_id("127.0.0.3", 5432, by_third);
    assert_string_not_equal(by_other, by_address);
    assert_string_not_equal(by_other, by_third);
}

/* "a=1 b=x" from a set, in order. */
static const char *text_of(const struct attrs *attrs)
{
    static char text[1024];
    size_t used = 0, position = 0;
    struct attr attr;
    text[0] = 0;
    while (attrs_next(attrs, &position, &attr)) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s=", used > 0 ? " " : "",
                                 (int)attr.key_bytes, attr.key);
        if (attr.kind == ATTR_TEXT)
            used += (size_t)snprintf(text + used, sizeof text - used, "%.*s", (int)attr.text_bytes,
                                     attr.text);
        else
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%lld", (long long)attr.number);
    }
    return text;
}

static void processor_changes_only_its_variant(void **state)
{
    (void)state;
    attrs_begin(&builder, ATTRS_RESOURCE);
    attrs_add_text(&builder, "host", "db1", 3);
    attrs_add_int(&builder, "server.port", 5432);
    attrs_add_text(&builder, "old", "y", 1);
    struct attrs *base = attrs_finish(&builder);

    struct resource_action actions[] = {
        {"env", "prod", NULL, RESOURCE_INSERT},
        {"host", "no", NULL, RESOURCE_INSERT},
        {"absent", "no", NULL, RESOURCE_UPDATE},
        {"host", "db2", NULL, RESOURCE_UPDATE},
        {"port.copy", NULL, "server.port", RESOURCE_UPSERT},
        {"nothing", NULL, "missing", RESOURCE_UPSERT},
        {"old", NULL, NULL, RESOURCE_DELETE},
    };
    struct resource_settings settings = {.attributes = {actions, sizeof actions / sizeof *actions}};
    struct resource_chains chains = {.count = 2};
    chains.chains[1] = (struct resource_chain){.steps = {&settings}, .step_count = 1};

    struct resource *resource = resource_create(base, &chains);
    assert_string_equal(text_of(resource->variants[0]), "host=db1 server.port=5432 old=y");
    assert_string_equal(text_of(resource->variants[1]),
                        "host=db2 server.port=5432 port.copy=5432 env=prod");
    assert_int_equal(resource->variants[1]->tag, ATTRS_RESOURCE);
    assert_null(resource->variants[2]);
    resource_destroy(&resource);
    assert_null(resource);
    attrs_destroy(&base);
}

static void action_without_value_is_refused(void **state)
{
    (void)state;
    struct resource_action action = {"env", NULL, NULL, RESOURCE_UPSERT};
    struct resource_settings settings = {.attributes = {&action, 1}};
    struct error error;
    assert_false(resource_processor.validate(&settings, &error));
    assert_non_null(strstr(error.text, "\"env\": action upsert needs `value`"));
    action.action = RESOURCE_DELETE;
    assert_true(resource_processor.validate(&settings, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instance_id_is_uuid5_of_host_and_port),
        cmocka_unit_test(loopback_takes_the_machines_name),
        cmocka_unit_test(processor_changes_only_its_variant),
        cmocka_unit_test(action_without_value_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
