/*
 * plans_fixture.h
 *	  The guide's tiers and a few prices, as catalog.c would give them.
 */
#ifndef MB_PLANS_FIXTURE_H
#define MB_PLANS_FIXTURE_H

#include "plans.h"

enum
{
	BASIC, PRO, BUSINESS, ENTERPRISE
};

/* An add-on's price, which is no row of the catalogue. */
#define UNKNOWN_PRICE "price_1T2aExtraSeatsYear"

static inline const MbPlans *
mb_test_plans(void)
{
	static MbTier tiers[] = {
		{{"BASIC", 5}, 0}, {{"PRO", 3}, 1}, {{"BUSINESS", 8}, 2}, {{"ENTERPRISE", 10}, 3},
	};
	static MbPrice prices[] = {
		{{"price_1T2aBusinessMonth", 23}, BUSINESS, {"month", 5}, true},
		{{"price_1T2aBusinessYear", 22}, BUSINESS, {"year", 4}, true},
		{{"price_1T2aProMonth", 18}, PRO, {"month", 5}, true},
		{{"price_1T2aProMonthOld", 21}, PRO, {"month", 5}, false},
		{{"price_1T2aProYear", 17}, PRO, {"year", 4}, true},
		{{"pro-2019", 8}, PRO, {"month", 5}, false},
	};
	static const MbPlans plans = {
		.ntiers = sizeof(tiers) / sizeof(tiers[0]),
		.tiers = tiers,
		.default_tier = BASIC,
		.nprices = sizeof(prices) / sizeof(prices[0]),
		.prices = prices,
	};

	return &plans;
}

#endif							/* MB_PLANS_FIXTURE_H */
