/*
 * explain.c
 *	  explain_tier(): every candidate for a user's tier, and why it counts or
 *	  does not.  For people.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "catalog.h"
#include "compat.h"
#include "derive.h"
#include "reads.h"
#include "spi.h"
#include "store.h"

typedef struct Candidate
{
	const char *source;
	MbText		ref;
	MbText		tier;
	MbText		status;
	MbTime		until;			/* MB_NO_TIME: never; INT64_MAX: no end */
	bool		counts;
	const char *reason;
} Candidate;

typedef struct Candidates
{
	Candidate  *list;
	int			count;
} Candidates;

static void add_subscriptions(Candidates *candidates, const MbCatalog *catalog, MbText user_id,
							  const MbUserRow *app_row, MbTime now);
static Candidate row_candidate(const char *source, const MbUserRow *row, MbText status, const MbPlans *plans, MbTime now);
static const char *row_reason(const MbUserRow *row, MbText status, MbTime until, MbTime now);
static void add_grants(Candidates *candidates, MbText user_id, MbTime now);

PG_FUNCTION_INFO_V1(explain_tier);

/* explain_tier(user_id text) */
Datum
explain_tier(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	const MbCatalog *catalog = mb_catalog_get();
	MbTime		now = GetCurrentStatementStartTimestamp();
	Candidates	candidates = {0};
	MbEntitlement entitlement;
	MbAppRow   *rows;
	bool		chosen = false;
	int			nrows;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	mb_store_begin();
	rows = mb_app_table_find(&user_id, 1, NULL, 0, &nrows);
	entitlement = mb_entitlement_at(catalog, user_id, nrows > 0 ? &rows[0].row : NULL, now);
	add_subscriptions(&candidates, catalog, user_id, nrows > 0 ? &rows[0].row : NULL, now);
	add_grants(&candidates, user_id, now);
	candidates.list[candidates.count++] = (Candidate)
	{
		.source = "default",
		.tier = catalog->plans.tiers[catalog->plans.default_tier].name,
		.until = INT64_MAX,
		.counts = true,
		.reason = "default",
	};

	for (int i = 0; i < candidates.count; i++)
	{
		const Candidate *candidate = &candidates.list[i];
		bool		is_chosen = !chosen && candidate->counts && candidate->until == entitlement.until &&
		mb_plans_find_tier(&catalog->plans, candidate->tier) == entitlement.tier;
		Datum		values[8];
		bool		nulls[8] = {false};

		chosen |= is_chosen;
		values[0] = CStringGetTextDatum(candidate->source);
		nulls[1] = candidate->ref.data == NULL;
		values[1] = nulls[1] ? (Datum) 0 : mb_spi_text_datum(candidate->ref);
		nulls[2] = candidate->tier.data == NULL;
		values[2] = nulls[2] ? (Datum) 0 : mb_spi_text_datum(candidate->tier);
		nulls[3] = candidate->status.data == NULL;
		values[3] = nulls[3] ? (Datum) 0 : mb_spi_text_datum(candidate->status);
		nulls[4] = candidate->until == MB_NO_TIME || candidate->until == INT64_MAX;
		values[4] = TimestampTzGetDatum(candidate->until);
		values[5] = BoolGetDatum(candidate->counts);
		values[6] = BoolGetDatum(is_chosen);
		values[7] = CStringGetTextDatum(candidate->reason);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * The user's subscriptions.  Of the one that the app's row shows, what the row
 * says: that is what is read.  A row of the app's own is a candidate itself.
 */
static void
add_subscriptions(Candidates *candidates, const MbCatalog *catalog, MbText user_id,
				  const MbUserRow *app_row, MbTime now)
{
	const MbPlans *plans = &catalog->plans;
	int			nsubscriptions;
	MbSubscription *subscriptions = mb_store_subscriptions_seen(&user_id, 1, &nsubscriptions);
	int			nuncounted;
	MbText	   *uncounted = mb_derive_uncounted(&user_id, 1, &nuncounted);
	int			nothers;
	MbOtherAccess *others = mb_store_other_access(&user_id, 1, &nothers);
	bool		shown = false;

	candidates->list = palloc((nsubscriptions + 2) * sizeof(Candidate));
	for (int i = 0; i < nsubscriptions; i++)
	{
		const MbSubscription *subscription = &subscriptions[i];
		Candidate  *candidate = &candidates->list[candidates->count++];
		bool		in_row = app_row != NULL && mb_text_eq(app_row->subscription_id, subscription->subscription_id);
		MbUserRow	row;

		mb_entitlement_row(subscription, plans, &row);
		*candidate = row_candidate("subscription", in_row ? app_row : &row, subscription->status, plans, now);
		candidate->ref = subscription->subscription_id;
		shown |= in_row;

		/* as it was derived, which is what is read */
		for (int o = 0; o < nothers && !in_row; o++)
			if (mb_text_is(others[o].source, "subscription") && mb_text_eq(others[o].ref, candidate->ref))
			{
				/* a mark to be woken by is no entitlement */
				if (mb_text_eq(others[o].tier, plans->tiers[plans->default_tier].name))
					break;
				candidate->tier = others[o].tier;
				candidate->until = others[o].valid_until == MB_NO_TIME ? INT64_MAX : others[o].valid_until;
				candidate->counts = candidate->until > now;
			}
		if (subscription->weak_link && mb_text_find(uncounted, nuncounted, subscription->customer_id) >= 0)
		{
			candidate->counts = false;
			candidate->reason = "claim_not_counted";
		}
		else if (subscription->status.data == NULL)
		{
			candidate->counts = false;
			candidate->until = MB_NO_TIME;
			candidate->reason = "no_state";
		}
	}
	if (app_row != NULL && !shown)
	{
		Candidate  *candidate = &candidates->list[candidates->count++];

		*candidate = row_candidate("app_row", app_row, mb_text(mb_status_label(app_row->status)), plans, now);
		candidate->ref = app_row->subscription_id;
	}
}

static Candidate
row_candidate(const char *source, const MbUserRow *row, MbText status, const MbPlans *plans, MbTime now)
{
	MbTime		until = mb_entitlement_until(row, plans);

	return (Candidate)
	{
		.source = source,
		.tier = row->tier,
		.status = status,
		.until = until,
		.counts = until > now,
		.reason = row_reason(row, status, until, now),
	};
}

static const char *
row_reason(const MbUserRow *row, MbText status, MbTime until, MbTime now)
{
	switch (row->status)
	{
		case MB_STATUS_ACTIVE:
		case MB_STATUS_TRIALING:
			return "live";
		case MB_STATUS_PAST_DUE:
			if (until == MB_NO_TIME)
				return "no_period";
			return until > now ? "past_due_in_period" : "period_over";
		case MB_STATUS_CANCELED:
			if (until == MB_NO_TIME)
				return "no_period";
			return until > now ? "canceled_in_period" : "period_over";
		case MB_STATUS_INACTIVE:
			if (mb_text_is(status, "paused"))
				return "paused";
			if (mb_text_is(status, "incomplete") || mb_text_is(status, "incomplete_expired"))
				return "never_paid";
			return mb_text_is(status, "INACTIVE") || mb_status_class(status) != MB_CLASS_UNKNOWN ? "inactive" : "unknown_status";
		case MB_STATUS_OTHER:
			break;
	}
	return "unknown_status";
}

static void
add_grants(Candidates *candidates, MbText user_id, MbTime now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID};
	Datum		args[] = {mb_spi_text_datum(user_id)};

	if (plan == NULL)
		plan = mb_spi_prepare("SELECT id::pg_catalog.text, tier, valid_from, valid_until FROM momento_billing.tier_grant"
							  " WHERE user_id OPERATOR(pg_catalog.=) $1 ORDER BY id", 1, types);
	mb_spi_execute(plan, args, true, SPI_OK_SELECT);
	candidates->list = repalloc(candidates->list, (candidates->count + SPI_processed + 1) * sizeof(Candidate));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		MbTime		from = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 3, &isnull));
		Datum		until = SPI_getbinval(tuple, desc, 4, &isnull);
		Candidate	candidate = {
			.source = "tier_grant",
			.ref = mb_spi_get_text(tuple, desc, 1),
			.tier = mb_spi_get_text(tuple, desc, 2),
			.until = isnull ? INT64_MAX : DatumGetTimestampTz(until),
		};

		candidate.counts = from <= now && candidate.until > now;
		candidate.reason = candidate.counts ? "in_force" : from > now ? "not_begun" : "ended";
		candidates->list[candidates->count++] = candidate;
	}
}
