/*
 * subscription_check.h
 *	  What a set of events comes to, in whatever order they come.
 */
#ifndef MB_SUBSCRIPTION_CHECK_H
#define MB_SUBSCRIPTION_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "subscription_fixture.h"
#include "subscription_history.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* Apply an event, and at once again, and hold the contract of the outcome. */
extern MbDecision mb_test_apply_checked(MbTestHistory *history, const MbEvent *event);

/* Apply events in this order; the result has no ties. */
extern MbSubscription mb_test_run(const MbEvent *const *order, int n);

/* Fail, and print the order, unless both are the same. */
extern void mb_test_expect_same(const MbSubscription *got, const MbSubscription *expected,
								const MbEvent *const *order, int n);

/*
 * What a set of at most six events comes to, in whatever order; and with
 * each event delivered twice, in a row or after all others.
 */
extern MbSubscription mb_test_converge(const MbEvent *events, int n);

extern void mb_test_expect_text(MbText got, const char *expected);
extern void mb_test_expect_time(MbTime got, int seconds);

/* Random numbers of a seed that is never 0; MB_SEED in the environment repeats a run. */
typedef struct MbTestRandom
{
	uint64_t	state;
} MbTestRandom;

extern uint64_t mb_test_seed(void);
extern MbTestRandom mb_test_random(uint64_t seed, int set);
extern int	mb_test_below(MbTestRandom *random, int n);
extern void mb_test_shuffle(MbTestRandom *random, const MbEvent **order, int n);

#endif							/* MB_SUBSCRIPTION_CHECK_H */
