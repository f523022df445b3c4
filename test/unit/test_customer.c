/*
 * test_customer.c
 *	  Whose Stripe customer it is, whatever the order of the links.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "customer.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

typedef struct Offer
{
	const char *user_id;
	MbLinkSource source;
	MbTime		created;
} Offer;

static MbLinkResult
offer(MbCustomer *customer, const Offer *o)
{
	return mb_customer_offer(customer, mb_text(o->user_id), o->source, o->created);
}

static MbCustomer
nobodys(void)
{
	return (MbCustomer)
	{
		.customer_id = MB_TEXT_LITERAL("cus_1"),
		.created = MB_NO_TIME
	};
}

/* Every order of the offers ends with the same link. */
static void
expect_link(Offer *offers, int n, int done, const Offer *expected)
{
	MbCustomer	customer = nobodys();

	if (done < n)
	{
		for (int i = done; i < n; i++)
		{
			Offer		swapped = offers[done];

			offers[done] = offers[i];
			offers[i] = swapped;
			expect_link(offers, n, done + 1, expected);
			offers[i] = offers[done];
			offers[done] = swapped;
		}
		return;
	}
	for (int i = 0; i < n; i++)
		(void) offer(&customer, &offers[i]);
	assert_true(mb_text_is(customer.user_id, expected->user_id));
	assert_int_equal(customer.source, expected->source);
	assert_true(customer.created == expected->created);
}

static void
r27_strongest_link_wins_in_any_order(void **state)
{
	Offer		offers[] = {
		{"reference", MB_LINK_CLIENT_REFERENCE_ID, 1},
		{"metadata", MB_LINK_METADATA, 30},
		{"manual", MB_LINK_MANUAL, 20},
		{"metadata", MB_LINK_METADATA, 10},
	};
	const Offer expected = {"manual", MB_LINK_MANUAL, 20};

	(void) state;
	expect_link(offers, LENGTH(offers), 0, &expected);
}

static void
oldest_of_equal_links_wins_in_any_order(void **state)
{
	Offer		offers[] = {
		{"ada", MB_LINK_METADATA, 20},
		{"bob", MB_LINK_METADATA, 10},
		{"ada", MB_LINK_METADATA, 15},
		{"cyd", MB_LINK_METADATA, 10},
		{"bob", MB_LINK_CLIENT_REFERENCE_ID, 1},
	};
	const Offer expected = {"bob", MB_LINK_METADATA, 10};

	(void) state;
	expect_link(offers, LENGTH(offers), 0, &expected);
}

static void
r27_results_of_offers(void **state)
{
	const struct
	{
		Offer		offer;
		MbLinkResult result;
	}			steps[] = {
		{{"ada", MB_LINK_CLIENT_REFERENCE_ID, 50}, MB_LINK_BOUND},
		{{"ada", MB_LINK_CLIENT_REFERENCE_ID, 60}, MB_LINK_UNCHANGED},
		{{"ada", MB_LINK_CLIENT_REFERENCE_ID, 40}, MB_LINK_REFRESHED},
		{{"bob", MB_LINK_CLIENT_REFERENCE_ID, 45}, MB_LINK_CONFLICT},
		{{"bob", MB_LINK_METADATA, 90}, MB_LINK_BOUND},
		{{"ada", MB_LINK_CLIENT_REFERENCE_ID, 1}, MB_LINK_UNCHANGED},
		{{"ada", MB_LINK_METADATA, 91}, MB_LINK_CONFLICT},
		{{"bob", MB_LINK_MANUAL, 95}, MB_LINK_REFRESHED},
		{{"ada", MB_LINK_METADATA, 1}, MB_LINK_UNCHANGED},
	};
	MbCustomer	customer = nobodys();

	(void) state;
	for (int i = 0; i < LENGTH(steps); i++)
		assert_int_equal(offer(&customer, &steps[i].offer), steps[i].result);
	assert_true(mb_text_is(customer.user_id, "bob"));
}

static void
labels_and_back(void **state)
{
	(void) state;
	for (int source = MB_LINK_CLIENT_REFERENCE_ID; source <= MB_LINK_MANUAL; source++)
		assert_int_equal(mb_link_source_from_label(mb_text(mb_link_source_label(source))), source);
	assert_int_equal(mb_link_source_from_label(MB_TEXT_LITERAL("rumour")), MB_LINK_NONE);
	assert_int_equal(mb_link_source_from_label(MB_NO_TEXT), MB_LINK_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r27_strongest_link_wins_in_any_order),
		cmocka_unit_test(oldest_of_equal_links_wins_in_any_order),
		cmocka_unit_test(r27_results_of_offers),
		cmocka_unit_test(labels_and_back),
	};

	return cmocka_run_group_tests_name("customer", tests, NULL, NULL);
}
