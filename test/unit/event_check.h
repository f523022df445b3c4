/*
 * event_check.h
 *	  One document at a time: load a fixture, change it, read it as an event.
 *
 * The fixtures are whole events of several API versions.  A test that is
 * about one field starts from one of them and changes that field.
 */
#ifndef MB_EVENT_CHECK_H
#define MB_EVENT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "event.h"
#include "json_jansson.h"
#include "plans_fixture.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* A Unix time as an MbTime. */
#define AT(seconds) (((seconds) - INT64_C(946684800)) * INT64_C(1000000))
#define TEXT(s) {(s), sizeof(s) - 1}

/* What all fixtures are about. */
#define SUBSCRIPTION TEXT("sub_1T2aKf7QmZ4xLw9D")
#define CUSTOMER TEXT("cus_U0aRv5tHc2Wn8B")
#define USER TEXT("clx4k2v9d0001qz8r5t7h3m6n")
#define PURCHASE INT64_C(1772355600)
#define RENEWAL INT64_C(1775034000)
#define NEXT_RENEWAL INT64_C(1777626000)
#define DAY INT64_C(86400)

typedef struct MbTestFixture
{
	const char *fixture;
	MbEvent		event;
} MbTestFixture;

extern const MbTestFixture mb_test_fixtures[];
extern const int mb_test_nfixtures;

/* The document under test; loaded with a fixture, or put together by hand. */
extern json_t *mb_test_document;

/* Teardown of every test. */
extern int	mb_test_unload(void **state);

extern void mb_test_load(const char *fixture);
extern json_t *mb_test_parse(const char *json);

/* Change what stands at a path such as "data.object.items.data.0.price". */
extern void mb_test_put_value(const char *path, json_t *value);
extern void mb_test_put(const char *path, const char *json);
extern void mb_test_put_long(const char *path, size_t len);
extern void mb_test_drop(const char *path);

/* Read the document as an event. */
extern MbEvent mb_test_read_as(MbLivemode livemode);
extern MbEvent mb_test_read(void);

/* Read the document as an event, and expect this of it. */
extern void mb_test_expect_ignored(const char *reason);
extern void mb_test_expect_period(int64_t start, int64_t end);
extern void mb_test_expect_no_period(void);
extern void mb_test_expect_price(const char *price_id, int tier);
extern void mb_test_expect_subscription(const char *subscription_id);

extern void mb_test_expect_event(const MbEvent *got, const MbEvent *expected);
extern void mb_test_expect_field(const char *field, MbText got, MbText expected);
extern void mb_test_expect_number(const char *field, int64_t got, int64_t expected);

#endif							/* MB_EVENT_CHECK_H */
