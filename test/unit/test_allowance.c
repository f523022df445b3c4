/*
 * test_allowance.c
 *	  Where units come from, where they go back to, and that none is lost.
 *
 * The seed of the random test is printed; MB_SEED repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allowance.h"
#include "subscription_check.h"

#define NOW 1000
#define NEVER INT64_MAX
#define MAX_GRANTS 6

/* Room for what one call takes. */
typedef struct Taken
{
	MbUnits		units;
	MbGrantUnits room[MAX_GRANTS];
} Taken;

static bool
take(MbAllowance *allowance, int64_t amount, Taken *taken)
{
	taken->units = (MbUnits)
	{
		.grants = taken->room
	};
	return mb_allowance_take(allowance, amount, NOW, &taken->units);
}

static MbAllowance
of_plan(int64_t limit, int64_t used, int64_t held)
{
	return (MbAllowance)
	{
		.limit = limit,
		.used = used,
		.held = held
	};
}

static MbAllowance
with_grants(int64_t limit, int64_t used, MbQuotaGrant *grants, int ngrants)
{
	return (MbAllowance)
	{
		.limit = limit,
		.used = used,
		.grants = grants,
		.ngrants = ngrants
	};
}

static int64_t
left_of(const MbAllowance *allowance, int64_t id)
{
	for (int i = 0; i < allowance->ngrants; i++)
		if (allowance->grants[i].id == id)
			return allowance->grants[i].remaining;
	fail_msg("grant %lld is gone", (long long) id);
	return -1;
}

/* Units of the plan, and of grants as "id:units id:units". */
static void
expect_taken(const MbUnits *taken, int64_t plan, const char *grants)
{
	char		got[200] = "";
	int			len = 0;

	assert_true(taken->plan == plan);
	for (int i = 0; i < taken->ngrants; i++)
		len += snprintf(got + len, sizeof(got) - len, "%s%lld:%lld", i > 0 ? " " : "",
						(long long) taken->grants[i].id, (long long) taken->grants[i].units);
	assert_string_equal(got, grants);
}

static void
remaining_of_the_plan(void **state)
{
	const struct
	{
		int64_t		limit;
		int64_t		used;
		int64_t		held;
		int64_t		remaining;
	}			cases[] = {
		{30, 0, 0, 30},
		{30, 10, 5, 15},
		{30, 30, 0, 0},
		{30, 0, 30, 0},
		{30, 29, 0, 1},
		{30, 20, 9, 1},
		{30, 20, 10, 0},
		{30, 20, 11, 0},
		{0, 0, 0, 0},
		{1, 0, 0, 1},
		/* after a downgrade */
		{10, 150, 0, 0},
		{10, 5, 20, 0},
		{0, 7, 7, 0},
		{MB_UNLIMITED, 0, 0, INT64_MAX},
		{MB_UNLIMITED, 5000000, 7, INT64_MAX - 5000007},
		{MB_UNLIMITED, INT64_MAX - 1, 0, 1},
		{MB_UNLIMITED, INT64_MAX, 0, 0},
		{MB_UNLIMITED, INT64_MAX, INT64_MAX, 0},
		{MB_NOT_IN_PLAN, 0, 0, 0},
		{MB_NOT_IN_PLAN, 12, 3, 0},
		/* sums that overflow */
		{INT64_MAX, 0, 0, INT64_MAX},
		{INT64_MAX, INT64_MAX - 1, 0, 1},
		{INT64_MAX, INT64_MAX - 1, 1, 0},
		{INT64_MAX, INT64_MAX, INT64_MAX, 0},
		{INT64_MAX, 1, INT64_MAX, 0},
		{30, INT64_MAX, INT64_MAX, 0},
		{30, 1, INT64_MAX, 0},
	};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
	{
		MbAllowance allowance = of_plan(cases[i].limit, cases[i].used, cases[i].held);

		if (mb_allowance_plan(&allowance) != cases[i].remaining || mb_allowance_remaining(&allowance, NOW) != cases[i].remaining)
			fail_msg("case %d: %lld left", i, (long long) mb_allowance_plan(&allowance));
		assert_true(mb_allowance_granted(&allowance, NOW) == 0);
	}
}

static void
remaining_of_grants(void **state)
{
	MbQuotaGrant grants[] = {
		{1, NOW + 1, 7}, {2, NOW, 1000}, {3, NOW - 1, 1000}, {4, NEVER, 20}, {5, NOW + 500, 0},
	};
	MbQuotaGrant many[] = {{1, NEVER, INT64_MAX - 5}, {2, NEVER, 5}, {3, NEVER, 1}};
	MbAllowance allowance = with_grants(30, 10, grants, LENGTH(grants));

	(void) state;
	/* until its end, not at it */
	assert_true(mb_allowance_granted(&allowance, NOW) == 27);
	assert_true(mb_allowance_granted(&allowance, NOW + 1) == 20);
	assert_true(mb_allowance_granted(&allowance, NOW - 1) == 1027);
	assert_true(mb_allowance_granted(&allowance, INT64_MAX - 1) == 20);
	assert_true(mb_allowance_remaining(&allowance, NOW) == 47);
	/* beside a plan that has nothing left, or nothing at all */
	allowance.used = 100;
	assert_true(mb_allowance_remaining(&allowance, NOW) == 27);
	allowance.limit = MB_NOT_IN_PLAN;
	assert_true(mb_allowance_remaining(&allowance, NOW) == 27);
	allowance.limit = MB_UNLIMITED;
	assert_true(mb_allowance_remaining(&allowance, NOW) == INT64_MAX - 100 + 27);
	/* sums stop at the greatest number */
	allowance = with_grants(MB_NOT_IN_PLAN, 0, many, 2);
	assert_true(mb_allowance_remaining(&allowance, NOW) == INT64_MAX);
	allowance.ngrants = 3;
	assert_true(mb_allowance_granted(&allowance, NOW) == INT64_MAX);
	allowance = with_grants(30, 0, many, 3);
	assert_true(mb_allowance_remaining(&allowance, NOW) == INT64_MAX);
	many[1].remaining = INT64_MAX;
	many[2].remaining = INT64_MAX;
	assert_true(mb_allowance_remaining(&allowance, NOW) == INT64_MAX);
}

static void
all_or_nothing(void **state)
{
	MbQuotaGrant grants[] = {{2, NEVER, 5}, {1, NOW + 9, 3}};
	MbAllowance allowance = with_grants(30, 20, grants, LENGTH(grants));
	Taken		taken;

	(void) state;
	assert_false(take(&allowance, 19, &taken));
	assert_false(take(&allowance, INT64_MAX, &taken));
	assert_true(left_of(&allowance, 1) == 3);
	assert_true(left_of(&allowance, 2) == 5);
	assert_true(allowance.used == 20 && allowance.held == 0);
	assert_true(take(&allowance, 18, &taken));
	assert_true(mb_units_total(&taken.units) == 18);
	assert_true(allowance.used == 20);
	allowance.used += taken.units.plan;
	assert_true(mb_allowance_remaining(&allowance, NOW) == 0);
	assert_false(take(&allowance, 1, &taken));

	allowance = of_plan(MB_NOT_IN_PLAN, 0, 0);
	assert_false(take(&allowance, 1, &taken));
	allowance = of_plan(0, 0, 0);
	assert_false(take(&allowance, 1, &taken));
	allowance = of_plan(10, 150, 0);
	assert_false(take(&allowance, 1, &taken));
	allowance = of_plan(10, 9, 0);
	assert_true(take(&allowance, 1, &taken));
	assert_false(take(&allowance, 2, &taken));
}

static void
unlimited(void **state)
{
	MbQuotaGrant grants[] = {{1, NEVER, 5}};
	MbAllowance allowance = with_grants(MB_UNLIMITED, 40, grants, LENGTH(grants));
	Taken		taken;

	(void) state;
	assert_true(take(&allowance, INT64_C(1000000000000), &taken));
	expect_taken(&taken.units, INT64_C(1000000000000), "");
	assert_true(take(&allowance, INT64_MAX - 40, &taken));
	expect_taken(&taken.units, INT64_MAX - 40, "");
	assert_true(left_of(&allowance, 1) == 5);
	/* but no more than can be counted */
	allowance = of_plan(MB_UNLIMITED, 40, 2);
	assert_false(take(&allowance, INT64_MAX, &taken));
	assert_false(take(&allowance, INT64_MAX - 41, &taken));
	assert_true(take(&allowance, INT64_MAX - 42, &taken));
	/* limits that are as good as none */
	allowance = of_plan(INT64_MAX, 0, 0);
	assert_true(take(&allowance, INT64_MAX, &taken));
	allowance = of_plan(INT64_MAX, 1, 0);
	assert_false(take(&allowance, INT64_MAX, &taken));
}

static void
plan_first_then_soonest_grant(void **state)
{
	MbQuotaGrant grants[] = {
		{5, NEVER, 10}, {9, NOW + 50, 4}, {2, NOW + 70, 3}, {8, NOW + 50, 2}, {1, NOW, 100}, {3, NOW + 60, 0}
	};
	MbAllowance allowance = with_grants(30, 20, grants, LENGTH(grants));
	Taken		taken;

	(void) state;
	/* the plan has it all */
	assert_true(take(&allowance, 10, &taken));
	expect_taken(&taken.units, 10, "");
	allowance.used += 10;
	/* of two that end together, the older one */
	assert_true(take(&allowance, 1, &taken));
	expect_taken(&taken.units, 0, "8:1");
	/* across all of them; one that has ended or is empty gives nothing */
	allowance.used -= 5;
	assert_true(take(&allowance, 5 + 1 + 4 + 3 + 6, &taken));
	expect_taken(&taken.units, 5, "8:1 9:4 2:3 5:6");
	allowance.used += 5;
	assert_true(mb_allowance_remaining(&allowance, NOW) == 4);
	assert_true(left_of(&allowance, 1) == 100);
	assert_false(take(&allowance, 5, &taken));
}

static void
given_back_the_other_way_round(void **state)
{
	MbQuotaGrant grants[] = {{1, NEVER, 10}, {2, NOW + 5, 4}, {3, NOW + 7, 3}};
	MbAllowance allowance = with_grants(30, 20, grants, LENGTH(grants));
	Taken		taken;

	(void) state;
	assert_true(take(&allowance, 10 + 4 + 3 + 6, &taken));
	allowance.used += taken.units.plan;
	assert_true(mb_allowance_remaining(&allowance, NOW) == 4);

	assert_true(mb_allowance_give_back(&allowance, 0, &taken.units) == 0);
	assert_true(mb_units_total(&taken.units) == 23);
	/* what was taken last comes first */
	assert_true(mb_allowance_give_back(&allowance, 2, &taken.units) == 0);
	expect_taken(&taken.units, 10, "2:4 3:3 1:4");
	assert_true(left_of(&allowance, 1) == 6);
	assert_true(mb_allowance_give_back(&allowance, 4, &taken.units) == 0);
	expect_taken(&taken.units, 10, "2:4 3:3");
	assert_true(mb_allowance_give_back(&allowance, 5, &taken.units) == 0);
	expect_taken(&taken.units, 10, "2:2");
	assert_true(left_of(&allowance, 3) == 3 && left_of(&allowance, 2) == 2 && left_of(&allowance, 1) == 10);
	/* and the plan at the end */
	assert_true(mb_allowance_give_back(&allowance, 3, &taken.units) == 1);
	expect_taken(&taken.units, 9, "");
	assert_true(mb_allowance_give_back(&allowance, 9, &taken.units) == 9);
	assert_true(mb_units_total(&taken.units) == 0);
	assert_true(mb_allowance_give_back(&allowance, 1, &taken.units) == 0);
	assert_true(left_of(&allowance, 1) == 10 && left_of(&allowance, 2) == 4 && left_of(&allowance, 3) == 3);
}

/* A grant may have ended since, or have been removed. */
static void
given_back_to_grants_that_are_over(void **state)
{
	MbQuotaGrant grants[] = {{1, NOW - 1, 0}, {3, NOW, 2}};
	MbGrantUnits from[] = {{1, 5}, {2, 5}, {3, 5}};
	MbAllowance allowance = with_grants(30, 5, grants, LENGTH(grants));
	MbUnits		units = {2, from, LENGTH(from)};

	(void) state;
	assert_true(mb_units_total(&units) == 17);
	assert_true(mb_allowance_give_back(&allowance, 8, &units) == 0);
	assert_true(left_of(&allowance, 3) == 7);
	expect_taken(&units, 2, "1:5 2:2");
	assert_true(mb_allowance_give_back(&allowance, 9, &units) == 2);
	assert_true(left_of(&allowance, 1) == 5);
	expect_taken(&units, 0, "");
	/* but it gives nothing more */
	assert_true(mb_allowance_granted(&allowance, NOW) == 0);
	assert_true(mb_allowance_remaining(&allowance, NOW) == 25);
}

static void
totals(void **state)
{
	MbGrantUnits from[] = {{1, INT64_MAX - 10}, {2, 10}};
	MbUnits		units = {0, from, 2};

	(void) state;
	assert_true(mb_units_total(&units) == INT64_MAX);
	units.plan = 1;
	assert_true(mb_units_total(&units) == INT64_MAX);
	units.ngrants = 0;
	assert_true(mb_units_total(&units) == 1);
}

/* The least number of units that is 80 percent or more. */
static void
eighty_percent(void **state)
{
	(void) state;
	for (int64_t limit = 0; limit <= 2000; limit++)
	{
		int64_t		got = mb_allowance_80_percent(limit);

		assert_true(got * 5 >= limit * 4);
		assert_true((got - 1) * 5 < limit * 4);
		assert_true(got <= limit);
	}
	assert_true(mb_allowance_80_percent(INT64_MAX) == INT64_MAX - INT64_MAX / 5);
	assert_true(mb_allowance_80_percent(INT64_C(1000000000000)) == INT64_C(800000000000));
}

/*
 * Many takes and gifts back in any order, beside a plain count: units are
 * never made nor lost, and each take and each gift back is in the right order.
 */
#define OPEN 8

static int64_t
limit_of(MbTestRandom *random)
{
	int			kind = mb_test_below(random, 10);

	return kind == 0 ? MB_UNLIMITED : kind == 1 ? MB_NOT_IN_PLAN : mb_test_below(random, 40);
}

static void
check_take(const MbAllowance *before, const MbQuotaGrant *grants_before, const MbAllowance *after,
		   int64_t amount, MbTime at, const MbUnits *taken)
{
	int64_t		plan = mb_allowance_plan(before);
	MbTime		last_end = INT64_MIN;
	int64_t		last_id = 0;

	assert_true(mb_units_total(taken) == amount);
	assert_true(taken->plan == (amount < plan ? amount : plan));
	for (int i = 0; i < taken->ngrants; i++)
	{
		const MbQuotaGrant *grant = NULL;

		for (int j = 0; j < before->ngrants; j++)
			if (grants_before[j].id == taken->grants[i].id)
				grant = &grants_before[j];
		assert_non_null(grant);
		assert_true(taken->grants[i].units > 0);
		assert_true(grant->expires_at > at);
		assert_true(grant->expires_at > last_end || (grant->expires_at == last_end && grant->id > last_id));
		assert_true(left_of(after, grant->id) == grant->remaining - taken->grants[i].units);
		last_end = grant->expires_at;
		last_id = grant->id;
		/* only the last one may have units left */
		assert_true(i == taken->ngrants - 1 || left_of(after, grant->id) == 0);
		/* nor was one left out that ends sooner */
		for (int j = 0; j < before->ngrants; j++)
			if (grants_before[j].expires_at > at && grants_before[j].expires_at < grant->expires_at)
				assert_true(left_of(after, grants_before[j].id) == 0);
	}
}

static int64_t
total_of_grants(const MbAllowance *allowance)
{
	int64_t		total = 0;

	for (int i = 0; i < allowance->ngrants; i++)
		total += allowance->grants[i].remaining;
	return total;
}

static void
units_are_conserved_at_random(void **state)
{
	uint64_t	seed = mb_test_seed();

	(void) state;
	for (int set = 0; set < 20000; set++)
	{
		MbTestRandom random = mb_test_random(seed, set);
		MbQuotaGrant grants[MAX_GRANTS];
		MbAllowance allowance = with_grants(limit_of(&random), mb_test_below(&random, 10), grants, mb_test_below(&random, MAX_GRANTS + 1));
		Taken		open[OPEN] = {0};
		int64_t		used_at_first = allowance.used;
		int64_t		granted;
		MbTime		at = 0;

		for (int i = 0; i < allowance.ngrants; i++)
		{
			grants[i].id = 10 + (i * 7) % MAX_GRANTS;
			grants[i].expires_at = mb_test_below(&random, 4) == 0 ? NEVER : mb_test_below(&random, 60);
			grants[i].remaining = mb_test_below(&random, 12);
		}
		granted = total_of_grants(&allowance);

		for (int step = 0; step < 40; step++)
		{
			Taken	   *slot = &open[mb_test_below(&random, OPEN)];
			int64_t		open_plan = 0,
						open_granted = 0;

			if (mb_test_below(&random, 10) == 0)
				allowance.limit = limit_of(&random);
			at += mb_test_below(&random, 3);
			if (mb_units_total(&slot->units) == 0)
			{
				int64_t		amount = 1 + mb_test_below(&random, 20);
				MbAllowance before = allowance;
				MbQuotaGrant grants_before[MAX_GRANTS] = {0};
				int64_t		left = mb_allowance_remaining(&allowance, at);

				memcpy(grants_before, grants, allowance.ngrants * sizeof(MbQuotaGrant));
				slot->units = (MbUnits)
				{
					.grants = slot->room
				};
				assert_true(mb_allowance_take(&allowance, amount, at, &slot->units) == (amount <= left));
				if (amount <= left)
				{
					check_take(&before, grants_before, &allowance, amount, at, &slot->units);
					allowance.used += slot->units.plan;
				}
				else
				{
					assert_memory_equal(grants, grants_before, allowance.ngrants * sizeof(MbQuotaGrant));
					slot->units = (MbUnits)
					{
						.grants = slot->room
					};
				}
			}
			else
			{
				int64_t		total = mb_units_total(&slot->units);
				int64_t		plan = slot->units.plan;
				int64_t		back = mb_test_below(&random, (int) total + 1);
				int64_t		grants_had = total - plan;
				int64_t		of_plan;

				of_plan = mb_allowance_give_back(&allowance, back, &slot->units);
				assert_true(mb_units_total(&slot->units) == total - back);
				assert_true(of_plan == (back > grants_had ? back - grants_had : 0));
				assert_true(slot->units.plan == plan - of_plan);
				allowance.used -= of_plan;
			}

			for (int i = 0; i < OPEN; i++)
			{
				open_plan += open[i].units.plan;
				open_granted += mb_units_total(&open[i].units) - open[i].units.plan;
			}
			if (allowance.used != used_at_first + open_plan || total_of_grants(&allowance) + open_granted != granted)
				fail_msg("set %d, step %d: units were made or lost", set, step);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(remaining_of_the_plan),
		cmocka_unit_test(remaining_of_grants),
		cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(unlimited),
		cmocka_unit_test(plan_first_then_soonest_grant),
		cmocka_unit_test(given_back_the_other_way_round),
		cmocka_unit_test(given_back_to_grants_that_are_over),
		cmocka_unit_test(totals),
		cmocka_unit_test(eighty_percent),
		cmocka_unit_test(units_are_conserved_at_random),
	};

	return cmocka_run_group_tests_name("allowance", tests, NULL, NULL);
}
