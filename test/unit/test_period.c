/*
 * test_period.c
 *	  The months that quotas are counted in, against the C library's calendar.
 *
 * The seed of the random tests is printed; MB_SEED repeats them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "period.h"
#include "subscription_check.h"

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)

/* From 1970, with which the C library counts, to 2000. */
#define EPOCH INT64_C(946684800)

static MbTime
from_unix(int64_t seconds)
{
	return (seconds - EPOCH) * SECOND;
}

/* Midnight of a day; days and months beyond the end run on. */
static MbTime
day(int year, int month, int mday)
{
	struct tm	tm = {0};

	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	tm.tm_mday = mday;
	return from_unix(timegm(&tm));
}

static struct tm
broken_down(MbTime time)
{
	time_t		seconds = time / SECOND - (time % SECOND < 0) + EPOCH;
	struct tm	tm;

	assert_non_null(gmtime_r(&seconds, &tm));
	return tm;
}

/* The day of a month, or its last; months are counted from January of "year". */
static MbTime
day_of_month(int year, int month, int mday)
{
	MbTime		after = day(year, month + 1, 1);
	MbTime		wanted = day(year, month, mday);

	return wanted < after ? wanted : after - DAY;
}

static void
expect_period(MbPeriod got, MbTime start, MbTime end)
{
	if (got.start != start || got.end != end)
	{
		struct tm	a = broken_down(got.start),
					b = broken_down(got.end),
					c = broken_down(start),
					d = broken_down(end);

		fail_msg("got %d-%02d-%02d %02d:%02d to %d-%02d-%02d %02d:%02d, expected %d-%02d-%02d %02d:%02d to %d-%02d-%02d %02d:%02d",
				 a.tm_year + 1900, a.tm_mon + 1, a.tm_mday, a.tm_hour, a.tm_min,
				 b.tm_year + 1900, b.tm_mon + 1, b.tm_mday, b.tm_hour, b.tm_min,
				 c.tm_year + 1900, c.tm_mon + 1, c.tm_mday, c.tm_hour, c.tm_min,
				 d.tm_year + 1900, d.tm_mon + 1, d.tm_mday, d.tm_hour, d.tm_min);
	}
}

/* All of a month's own times, from its first to its last microsecond. */
static void
expect_month(int year, int month)
{
	MbTime		start = day(year, month, 1);
	MbTime		end = day(year, month + 1, 1);

	expect_period(mb_period_calendar(start), start, end);
	expect_period(mb_period_calendar(start + (end - start) / 2), start, end);
	expect_period(mb_period_calendar(end - 1), start, end);
	expect_period(mb_period_month(year, month), start, end);
}

static void
calendar_months(void **state)
{
	static const int years[] = {-4000, -1, 0, 1, 4, 100, 400, 1583, 1900, 1970, 1999, 2000, 2001, 2023, 2024, 2026, 2096, 2100, 2104, 2400, 9999, 290000};

	(void) state;
	for (int i = 0; i < LENGTH(years); i++)
		for (int month = 1; month <= 12; month++)
			expect_month(years[i], month);
	assert_true(mb_period_calendar(0).start == 0);
	assert_true(mb_period_calendar(-1).end == 0);
	/* leap days: of every fourth year, of every fourth century */
	expect_period(mb_period_calendar(day(2024, 2, 29)), day(2024, 2, 1), day(2024, 3, 1));
	assert_true(mb_period_calendar(day(2000, 2, 1)).end - mb_period_calendar(day(2000, 2, 1)).start == 29 * DAY);
	assert_true(mb_period_calendar(day(2024, 2, 1)).end - mb_period_calendar(day(2024, 2, 1)).start == 29 * DAY);
	assert_true(mb_period_calendar(day(2023, 2, 1)).end - mb_period_calendar(day(2023, 2, 1)).start == 28 * DAY);
	assert_true(mb_period_calendar(day(2100, 2, 1)).end - mb_period_calendar(day(2100, 2, 1)).start == 28 * DAY);
}

/* Two cycles of the Gregorian calendar, around the server's epoch. */
static void
every_day_of_eight_centuries(void **state)
{
	MbTime		end = day(2400, 1, 1);
	MbTime		month_end = day(1600, 1, 1);
	MbTime		month_start = month_end;

	(void) state;
	for (MbTime at = month_end; at < end; at += DAY)
	{
		MbPeriod	got;

		if (at == month_end)
		{
			struct tm	tm = broken_down(at);

			assert_int_equal(tm.tm_mday, 1);
			month_start = at;
			month_end = day(tm.tm_year + 1900, tm.tm_mon + 2, 1);
		}
		got = mb_period_calendar(at);
		if (got.start != month_start || got.end != month_end)
			expect_period(got, month_start, month_end);
		got = mb_period_calendar(at + DAY - 1);
		if (got.start != month_start || got.end != month_end)
			expect_period(got, month_start, month_end);
	}
}

/* Random, from about -20,000 to 24,000, the same in every run of a seed. */
static MbTime
random_time(MbTestRandom *random, MbTime middle, int days)
{
	return middle + (mb_test_below(random, 2 * days) - days) * DAY + mb_test_below(random, 86400) * SECOND +
		mb_test_below(random, 1000000);
}

static void
calendar_months_at_random(void **state)
{
	uint64_t	seed = mb_test_seed();

	(void) state;
	for (int set = 0; set < 200000; set++)
	{
		MbTestRandom random = mb_test_random(seed, set);
		MbTime		at = random_time(&random, 0, 8000000);
		struct tm	tm = broken_down(at);

		expect_period(mb_period_calendar(at), day(tm.tm_year + 1900, tm.tm_mon + 1, 1), day(tm.tm_year + 1900, tm.tm_mon + 2, 1));
	}
}

/* Each month of a subscription that began on a day, and both of its edges. */
static void
expect_months(MbTime start, MbTime end, const MbTime *edges, int nedges)
{
	for (int i = 0; i + 1 < nedges; i++)
	{
		expect_period(mb_period_billing(start, end, edges[i]), edges[i], edges[i + 1]);
		expect_period(mb_period_billing(start, end, (edges[i] + edges[i + 1]) / 2), edges[i], edges[i + 1]);
		expect_period(mb_period_billing(start, end, edges[i + 1] - 1), edges[i], edges[i + 1]);
	}
}

static void
billing_month_of_an_ordinary_day(void **state)
{
	MbTime		hour = 15 * 3600 * SECOND + 30 * 60 * SECOND + 123456;
	MbTime		start = day(2026, 1, 15) + hour;
	MbTime		end = day(2026, 2, 15) + hour;
	const MbTime edges[] = {start, end, day(2026, 3, 15) + hour, day(2026, 4, 15) + hour, day(2026, 5, 15) + hour};

	(void) state;
	expect_months(start, end, edges, LENGTH(edges));
	/* before its start, as a clock or an app may have it */
	expect_period(mb_period_billing(start, end, start - 1), day(2025, 12, 15) + hour, start);
	expect_period(mb_period_billing(start, end, day(2025, 12, 15) + hour), day(2025, 12, 15) + hour, start);
	expect_period(mb_period_billing(start, end, day(2025, 12, 15) + hour - 1), day(2025, 11, 15) + hour, day(2025, 12, 15) + hour);
	/* on its first day, the hour matters */
	expect_period(mb_period_billing(start, end, day(2026, 2, 15)), start, end);
	expect_period(mb_period_billing(start, end, day(2026, 2, 15) + 23 * 3600 * SECOND), end, day(2026, 3, 15) + hour);
	/* no news of a renewal for a year */
	expect_period(mb_period_billing(start, end, day(2027, 3, 1)), day(2027, 2, 15) + hour, day(2027, 3, 15) + hour);
	/* an end that is not known, never, or nonsense */
	expect_months(start, MB_NO_TIME, edges, LENGTH(edges));
	expect_months(start, INT64_MAX, edges, LENGTH(edges));
	expect_months(start, start, edges, LENGTH(edges));
	expect_months(start, day(2020, 1, 31) + hour, edges, LENGTH(edges));
}

static void
billing_month_from_the_31st(void **state)
{
	MbTime		hour = 8 * 3600 * SECOND;
	const MbTime edges[] = {
		day(2026, 1, 31) + hour, day(2026, 2, 28) + hour, day(2026, 3, 31) + hour, day(2026, 4, 30) + hour,
		day(2026, 5, 31) + hour, day(2026, 6, 30) + hour, day(2026, 7, 31) + hour, day(2026, 8, 31) + hour,
		day(2026, 9, 30) + hour, day(2026, 10, 31) + hour, day(2026, 11, 30) + hour, day(2026, 12, 31) + hour,
		day(2027, 1, 31) + hour, day(2027, 2, 28) + hour,
	};

	(void) state;
	/* whichever of its periods the row shows, and however late */
	for (int i = 0; i + 1 < LENGTH(edges); i++)
		expect_months(edges[i], edges[i + 1], edges, LENGTH(edges));
	/* of a leap year */
	expect_period(mb_period_billing(day(2024, 1, 31), day(2024, 2, 29), day(2024, 2, 29) - 1), day(2024, 1, 31), day(2024, 2, 29));
	expect_period(mb_period_billing(day(2024, 1, 31), day(2024, 2, 29), day(2024, 2, 29)), day(2024, 2, 29), day(2024, 3, 31));
	expect_period(mb_period_billing(day(2024, 2, 29), day(2024, 3, 31), day(2024, 2, 29)), day(2024, 2, 29), day(2024, 3, 31));
	/* the end is not known: the day of the start is all there is */
	expect_period(mb_period_billing(day(2026, 2, 28), MB_NO_TIME, day(2026, 3, 28)), day(2026, 3, 28), day(2026, 4, 28));
	expect_period(mb_period_billing(day(2026, 4, 30), INT64_MAX, day(2026, 5, 30)), day(2026, 5, 30), day(2026, 6, 30));
	expect_period(mb_period_billing(day(2026, 4, 30), day(2026, 1, 31), day(2026, 5, 30)), day(2026, 5, 30), day(2026, 6, 30));
}

static void
billing_month_from_the_29th_and_30th(void **state)
{
	const MbTime from_30[] = {day(2026, 1, 30), day(2026, 2, 28), day(2026, 3, 30), day(2026, 4, 30), day(2026, 5, 30)};
	const MbTime from_29[] = {day(2026, 1, 29), day(2026, 2, 28), day(2026, 3, 29), day(2026, 4, 29)};
	const MbTime from_28[] = {day(2026, 1, 28), day(2026, 2, 28), day(2026, 3, 28), day(2026, 4, 28)};
	const MbTime leap_30[] = {day(2028, 1, 30), day(2028, 2, 29), day(2028, 3, 30)};
	const MbTime leap_29[] = {day(2028, 1, 29), day(2028, 2, 29), day(2028, 3, 29)};

	(void) state;
	for (int i = 0; i + 1 < LENGTH(from_30); i++)
		expect_months(from_30[i], from_30[i + 1], from_30, LENGTH(from_30));
	for (int i = 0; i + 1 < LENGTH(from_29); i++)
		expect_months(from_29[i], from_29[i + 1], from_29, LENGTH(from_29));
	for (int i = 0; i + 1 < LENGTH(from_28); i++)
		expect_months(from_28[i], from_28[i + 1], from_28, LENGTH(from_28));
	for (int i = 0; i + 1 < LENGTH(leap_30); i++)
		expect_months(leap_30[i], leap_30[i + 1], leap_30, LENGTH(leap_30));
	for (int i = 0; i + 1 < LENGTH(leap_29); i++)
		expect_months(leap_29[i], leap_29[i + 1], leap_29, LENGTH(leap_29));
}

/* A century without a leap day is not the same as one with it. */
static void
billing_month_on_leap_days(void **state)
{
	(void) state;
	expect_period(mb_period_billing(day(2000, 2, 29), day(2000, 3, 29), day(2000, 2, 29)), day(2000, 2, 29), day(2000, 3, 29));
	expect_period(mb_period_billing(day(2000, 2, 29), day(2001, 2, 28), day(2001, 2, 28) - 1), day(2001, 1, 29), day(2001, 2, 28));
	expect_period(mb_period_billing(day(2024, 2, 29), day(2025, 2, 28), day(2025, 2, 28)), day(2025, 2, 28), day(2025, 3, 29));
	expect_period(mb_period_billing(day(2100, 1, 29), day(2100, 2, 28), day(2100, 2, 28)), day(2100, 2, 28), day(2100, 3, 29));
	expect_period(mb_period_billing(day(2100, 1, 31), day(2100, 2, 28), day(2100, 2, 15)), day(2100, 1, 31), day(2100, 2, 28));
	/* yearly from a leap day, when the next one comes */
	expect_period(mb_period_billing(day(2027, 2, 28), day(2028, 2, 29), day(2027, 2, 28)), day(2027, 2, 28), day(2027, 3, 29));
	expect_period(mb_period_billing(day(2027, 2, 28), day(2028, 2, 29), day(2028, 2, 28)), day(2028, 1, 29), day(2028, 2, 29));
}

static void
yearly_subscription_has_months(void **state)
{
	MbTime		start = day(2026, 8, 31);
	MbTime		end = day(2027, 8, 31);
	const MbTime edges[] = {
		start, day(2026, 9, 30), day(2026, 10, 31), day(2026, 11, 30), day(2026, 12, 31), day(2027, 1, 31),
		day(2027, 2, 28), day(2027, 3, 31), day(2027, 4, 30), day(2027, 5, 31), day(2027, 6, 30), day(2027, 7, 31), end,
		day(2027, 9, 30),
	};

	(void) state;
	expect_months(start, end, edges, LENGTH(edges));
}

/* A trial of two weeks is less than a month; what follows has its own day. */
static void
trial(void **state)
{
	MbTime		start = day(2026, 1, 31) + 3600 * SECOND;
	MbTime		end = start + 14 * DAY;

	(void) state;
	expect_period(mb_period_billing(start, end, start), start, day(2026, 2, 28) + 3600 * SECOND);
	expect_period(mb_period_billing(start, end, end), start, day(2026, 2, 28) + 3600 * SECOND);
	expect_period(mb_period_billing(end, day(2026, 3, 14) + 3600 * SECOND, end), end, day(2026, 3, 14) + 3600 * SECOND);
	/* one that ends on a later day than the month has, at another hour */
	expect_period(mb_period_billing(day(2026, 2, 28), day(2026, 3, 30) + 1, day(2026, 3, 29)), day(2026, 3, 28), day(2026, 4, 28));
}

static void
billing_months_join_at_random(void **state)
{
	uint64_t	seed = mb_test_seed();

	(void) state;
	for (int set = 0; set < 200000; set++)
	{
		MbTestRandom random = mb_test_random(seed, set);
		MbTime		start = random_time(&random, 0, set % 2 == 0 ? 20000 : 4000000);
		MbTime		end = mb_test_below(&random, 5) == 0 ? MB_NO_TIME : random_time(&random, start, 500);
		MbTime		at = random_time(&random, start, 1200);
		MbPeriod	got;

		if (mb_test_below(&random, 2) == 0)
			end = start + mb_test_below(&random, 400) * DAY;
		got = mb_period_billing(start, end, at);
		if (!(got.start <= at && at < got.end))
			fail_msg("set %d: the time is not in its month", set);
		if (got.end - got.start < 28 * DAY || got.end - got.start > 31 * DAY)
			fail_msg("set %d: a month of %.1f days", set, (double) (got.end - got.start) / DAY);
		if (mb_period_billing(start, end, got.end).start != got.end)
			fail_msg("set %d: the next month does not begin where this one ends", set);
		if (mb_period_billing(start, end, got.start - 1).end != got.start)
			fail_msg("set %d: the month before does not end where this one begins", set);
		expect_period(mb_period_billing(start, end, got.start), got.start, got.end);
		expect_period(mb_period_billing(start, end, got.end - 1), got.start, got.end);
		if (mb_period_billing(start, end, start).start != start)
			fail_msg("set %d: no month begins where the period does", set);
	}
}

/*
 * What Stripe does: periods of some months, from the same day of the month or
 * its last.  Their own edges are edges of months, so what one row says joins
 * what the next one says; and where a period is one month, so do the months
 * that come without a renewal.
 */
static void
periods_of_stripe_join_at_random(void **state)
{
	static const int lengths[] = {1, 1, 1, 2, 3, 6, 12};
	uint64_t	seed = mb_test_seed();

	(void) state;
	for (int set = 0; set < 50000; set++)
	{
		MbTestRandom random = mb_test_random(seed, set);
		int			year = 1990 + mb_test_below(&random, 130);
		int			month = 1 + mb_test_below(&random, 12);
		int			mday = mb_test_below(&random, 2) == 0 ? 29 + mb_test_below(&random, 3) : 1 + mb_test_below(&random, 31);
		int			length = lengths[mb_test_below(&random, LENGTH(lengths))];
		MbTime		hour = mb_test_below(&random, 86400) * SECOND;

		for (int i = 0; i < 15; i++)
		{
			MbTime		start = day_of_month(year, month + i * length, mday) + hour;
			MbTime		end = day_of_month(year, month + (i + 1) * length, mday) + hour;
			MbTime		next = day_of_month(year, month + (i + 2) * length, mday) + hour;
			MbPeriod	last = mb_period_billing(start, end, end - 1);

			assert_true(mb_period_billing(start, end, start).start == start);
			if (last.end != end || last.start < start)
				expect_period(last, start, end);
			assert_true(mb_period_billing(start, end, end).start == end);
			if (length == 1)
			{
				expect_period(mb_period_billing(start, end, start), start, end);
				expect_period(mb_period_billing(start, end, end), end, next);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calendar_months),
		cmocka_unit_test(every_day_of_eight_centuries),
		cmocka_unit_test(calendar_months_at_random),
		cmocka_unit_test(billing_month_of_an_ordinary_day),
		cmocka_unit_test(billing_month_from_the_31st),
		cmocka_unit_test(billing_month_from_the_29th_and_30th),
		cmocka_unit_test(billing_month_on_leap_days),
		cmocka_unit_test(yearly_subscription_has_months),
		cmocka_unit_test(trial),
		cmocka_unit_test(billing_months_join_at_random),
		cmocka_unit_test(periods_of_stripe_join_at_random),
	};

	return cmocka_run_group_tests_name("period", tests, NULL, NULL);
}
