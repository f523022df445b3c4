/*
 * subscription_check.c
 *	  What a set of events comes to, in whatever order they come.
 */
#include <time.h>

#include "subscription_check.h"

#define MAX_DELIVERIES 12

static void permute(const MbEvent **order, int k, int n, const MbSubscription *expected);

MbDecision
mb_test_apply_checked(MbTestHistory *history, const MbEvent *event)
{
	MbSubscription *subscription = &history->subscription;
	MbSubscription before = *subscription;
	MbSubscription after;
	MbDecision	decision = mb_test_apply(history, event);
	MbDecision	repeated;

	assert_int_equal(decision.changed, mb_test_difference(&before, subscription) != NULL);
	assert_true((int) decision.outcome >= MB_OUTCOME_APPLIED && decision.outcome <= MB_OUTCOME_DUPLICATE);
	assert_true(decision.changed || decision.outcome != MB_OUTCOME_APPLIED);
	assert_true(!decision.changed || decision.outcome != MB_OUTCOME_DUPLICATE);

	after = *subscription;
	repeated = mb_test_apply(history, event);
	assert_false(repeated.changed);
	assert_null(mb_test_difference(&after, subscription));
	assert_true(repeated.outcome != MB_OUTCOME_APPLIED);
	return decision;
}

MbSubscription
mb_test_run(const MbEvent *const *order, int n)
{
	MbTestHistory history;

	mb_test_begin(&history, mb_text("sub_1"));
	for (int i = 0; i < n; i++)
		mb_test_apply_checked(&history, order[i]);
	history.subscription.ties = NULL;
	history.subscription.nties = 0;
	return history.subscription;
}

void
mb_test_expect_same(const MbSubscription *got, const MbSubscription *expected, const MbEvent *const *order, int n)
{
	const char *field = mb_test_difference(got, expected);

	if (field == NULL)
		return;
	for (int i = 0; i < n; i++)
		print_error("  %.*s\n", order[i]->id.len, order[i]->id.data);
	fail_msg("\"%s\" depends on the order, which was that above", field);
}

MbSubscription
mb_test_converge(const MbEvent *events, int n)
{
	const MbEvent *order[MAX_DELIVERIES];
	MbSubscription expected;
	MbSubscription got;

	assert_true(n >= 1 && n <= MAX_DELIVERIES / 2);
	for (int i = 0; i < n; i++)
		order[i] = &events[i];
	expected = mb_test_run(order, n);
	permute(order, n, n, &expected);
	for (int i = 0; i < n; i++)
		order[i] = order[n + i] = &events[i];
	got = mb_test_run(order, 2 * n);
	mb_test_expect_same(&got, &expected, order, 2 * n);

	/* one event three times among the others, in every order */
	if (n <= 4)
	{
		order[n] = order[n + 1] = order[0];
		permute(order, n + 2, n + 2, &expected);
	}
	return expected;
}

void
mb_test_expect_text(MbText got, const char *expected)
{
	if (!mb_text_eq(got, mb_text(expected)))
		fail_msg("\"%.*s\" instead of \"%s\"", got.len, got.data ? got.data : "", expected ? expected : "(none)");
}

void
mb_test_expect_time(MbTime got, int seconds)
{
	if (got != mb_test_time(seconds))
		fail_msg("%lld us instead of %d s", (long long) got, seconds);
}

uint64_t
mb_test_seed(void)
{
	const char *given = getenv("MB_SEED");
	uint64_t	seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t) time(NULL);

	print_message("# MB_SEED=%llu\n", (unsigned long long) seed);
	return seed;
}

MbTestRandom
mb_test_random(uint64_t seed, int set)
{
	return (MbTestRandom)
	{
		(seed + (uint64_t) set) * UINT64_C(0x9E3779B97F4A7C15) | 1
	};
}

/* xorshift64* */
int
mb_test_below(MbTestRandom *random, int n)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return (int) ((random->state * UINT64_C(2685821657736338717) >> 33) % (uint64_t) n);
}

void
mb_test_shuffle(MbTestRandom *random, const MbEvent **order, int n)
{
	for (int i = n - 1; i > 0; i--)
	{
		int			other = mb_test_below(random, i + 1);
		const MbEvent *swapped = order[i];

		order[i] = order[other];
		order[other] = swapped;
	}
}

/* Heap's algorithm: every order of the first "k" events. */
static void
permute(const MbEvent **order, int k, int n, const MbSubscription *expected)
{
	if (k <= 1)
	{
		MbSubscription got = mb_test_run(order, n);

		mb_test_expect_same(&got, expected, order, n);
		return;
	}
	for (int i = 0; i < k; i++)
	{
		int			other = k % 2 == 0 ? i : 0;
		const MbEvent *swapped;

		permute(order, k - 1, n, expected);
		swapped = order[other];
		order[other] = order[k - 1];
		order[k - 1] = swapped;
	}
}
