/*
 * reads.c
 *	  effective_tier(), billing_status(), the price maps and the view
 *	  entitlement.
 *
 * The hot path is one index probe of the app's table and comparisons in
 * memory.  The clock is that of the statement, so that one statement judges
 * all users at one time, in parallel workers too.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "catalog.h"
#include "compat.h"
#include "errors.h"
#include "reads.h"
#include "settings.h"
#include "spi.h"
#include "store.h"

static Datum effective_tier_datum(MbText user_id, MbTime at);
static int	row_tier(const MbCatalog *catalog, const MbUserRow *row);
static void consider(MbEntitlement *entitlement, int tier, MbTime until, MbTime at, const char *source);
static void put_entitlement(ReturnSetInfo *rsinfo, const MbCatalog *catalog, MbText user_id, const MbUserRow *row, MbTime now);
static void push_text(JsonbParseState **state, const char *key, MbText value);
static void push_bool(JsonbParseState **state, const char *key, bool value);
static MbText iso_time(MbTime time);

PG_FUNCTION_INFO_V1(effective_tier);
PG_FUNCTION_INFO_V1(effective_tier_at);
PG_FUNCTION_INFO_V1(billing_status);
PG_FUNCTION_INFO_V1(resolve_price_id);
PG_FUNCTION_INFO_V1(price_id_to_tier);
PG_FUNCTION_INFO_V1(entitlements);

MbEntitlement
mb_entitlement_at(const MbCatalog *catalog, MbText user_id, const MbUserRow *row, MbTime at)
{
	MbEntitlement result = {
		.tier = catalog->plans.default_tier,
		.until = INT64_MAX,
		.source = "default",
	};

	if (row != NULL)
	{
		MbTime		until = mb_entitlement_until(row, &catalog->plans);

		if (until > at || until == INT64_MAX)
			consider(&result, row_tier(catalog, row), until, at, "subscription");
	}
	if (catalog->has_other_access)
	{
		Relation	rel = table_open(catalog->other_access_relid, AccessShareLock);
		Datum		key = mb_spi_text_datum(user_id);
		MbProbeScan scan;
		TupleTableSlot *slot;

		mb_probe_begin(&scan, &catalog->other_access_probe, rel, &key);
		while ((slot = mb_probe_next(&scan)) != NULL)
		{
			/* user_id, source, ref, tier, valid_from, valid_until */
			bool		isnull;
			Datum		tier = slot_getattr(slot, 4, &isnull);
			Datum		from = slot_getattr(slot, 5, &isnull);
			bool		begun = isnull || DatumGetTimestampTz(from) <= at;
			Datum		until = slot_getattr(slot, 6, &isnull);

			if (begun)
				consider(&result, mb_plans_find_tier(&catalog->plans, mb_spi_text(tier, false)),
						 isnull ? INT64_MAX : DatumGetTimestampTz(until), at, "other");
		}
		mb_probe_end(&scan);
		table_close(rel, NoLock);
	}
	return result;
}

int
mb_effective_tier(const MbCatalog *catalog, MbText user_id, MbTime at)
{
	MbUserRow	row;
	bool		found = mb_app_table_read(user_id, &row);

	return mb_entitlement_at(catalog, user_id, found ? &row : NULL, at).tier;
}

MbText
mb_user_argument(Datum datum, bool isnull)
{
	MbText		user_id = mb_spi_text(datum, isnull);

	if (user_id.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("user_id must not be null or empty")));
	return mb_app_table_canonical_user(user_id);
}

/* effective_tier(user_id text); strict */
Datum
effective_tier(PG_FUNCTION_ARGS)
{
	return effective_tier_datum(mb_spi_text(PG_GETARG_DATUM(0), false), GetCurrentStatementStartTimestamp());
}

/* effective_tier(user_id text, at timestamptz); strict */
Datum
effective_tier_at(PG_FUNCTION_ARGS)
{
	return effective_tier_datum(mb_spi_text(PG_GETARG_DATUM(0), false), PG_GETARG_TIMESTAMPTZ(1));
}

/* billing_status(user_id text): the guide's object (its section 7.5). */
Datum
billing_status(PG_FUNCTION_ARGS)
{
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	const MbCatalog *catalog = mb_catalog_get();
	MbUserRow	row;
	bool		found = mb_app_table_read(user_id, &row);
	int			effective = mb_entitlement_at(catalog, user_id, found ? &row : NULL,
											  GetCurrentStatementStartTimestamp()).tier;
	const MbTier *tiers = catalog->plans.tiers;
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "tier", found ? row.tier : tiers[catalog->plans.default_tier].name);
	push_text(&state, "effectiveTier", tiers[effective].name);
	push_text(&state, "status", found && row.status != MB_STATUS_OTHER ? mb_text(mb_status_label(row.status)) : MB_NO_TEXT);
	push_text(&state, "currentPeriodEnd", found ? iso_time(row.period_end) : MB_NO_TEXT);
	push_bool(&state, "cancelAtPeriodEnd", found && row.cancel_at_period_end);
	push_bool(&state, "hasStripeSubscription", found && row.subscription_id.data != NULL);
	push_bool(&state, "billingEnabled", mb_enabled);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* resolve_price_id(tier text, billing_interval text) */
Datum
resolve_price_id(PG_FUNCTION_ARGS)
{
	MbText		tier = mb_spi_text(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	MbText		billing_interval = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	const MbPlans *plans = &mb_catalog_get()->plans;
	int			index = mb_plans_find_tier(plans, tier);

	if (index == MB_NO_TIER)
		ereport(ERROR,
				(errcode(MB_ERRCODE_NOT_CONFIGURED),
				 errmsg("tier \"%.*s\" is not configured", tier.len, tier.data ? tier.data : ""),
				 errhint("The tiers are the rows of momento_billing.tier.")));
	if (!mb_text_is(billing_interval, "month") && !mb_text_is(billing_interval, "year"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid billing interval \"%.*s\"", billing_interval.len, billing_interval.data ? billing_interval.data : ""),
				 errhint("It is \"month\" or \"year\".")));
	for (int i = 0; i < plans->nprices; i++)
		if (plans->prices[i].active && plans->prices[i].tier == index &&
			mb_text_eq(plans->prices[i].billing_interval, billing_interval))
			PG_RETURN_DATUM(mb_spi_text_datum(plans->prices[i].price_id));
	ereport(ERROR,
			(errcode(MB_ERRCODE_NOT_CONFIGURED),
			 errmsg("no active price for tier \"%.*s\" and interval \"%.*s\" is configured",
					tier.len, tier.data, billing_interval.len, billing_interval.data),
			 errhint("INSERT the Stripe price id into momento_billing.price; a tier without a price, such as ENTERPRISE, is sold by contact.")));
}

/* price_id_to_tier(price_id text) */
Datum
price_id_to_tier(PG_FUNCTION_ARGS)
{
	MbText		price_id = mb_spi_text(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	const MbPlans *plans = &mb_catalog_get()->plans;
	int			tier = mb_plans_tier_of_price(plans, price_id);

	if (tier == MB_NO_TIER)
		ereport(ERROR,
				(errcode(MB_ERRCODE_NOT_CONFIGURED),
				 errmsg("price \"%.*s\" is not configured", price_id.len, price_id.data ? price_id.data : ""),
				 errhint("INSERT it into momento_billing.price with the tier that it buys.")));
	PG_RETURN_DATUM(mb_spi_text_datum(plans->tiers[tier].name));
}

/* The rows of the view entitlement. */
Datum
entitlements(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const MbCatalog *catalog = mb_catalog_get();
	MbTime		now = GetCurrentStatementStartTimestamp();
	MbAppRow   *rows;
	int			count;

	MbText	   *with_row;
	int			nwith_row = 0;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	mb_store_begin();
	rows = mb_app_table_read_all(&count);
	with_row = palloc(Max(count, 1) * sizeof(MbText));
	for (int i = 0; i < count; i++)
	{
		if (rows[i].user_id.data != NULL)
			with_row[nwith_row++] = rows[i].user_id;
		put_entitlement(rsinfo, catalog, rows[i].user_id, &rows[i].row, now);
	}
	if (catalog->has_other_access)
	{
		int			nothers;
		MbText	   *others = mb_store_users_with_other_access(&nothers);

		nwith_row = mb_text_sort_unique(with_row, nwith_row);
		for (int i = 0; i < nothers; i++)
			if (mb_text_find(with_row, nwith_row, others[i]) < 0)
				put_entitlement(rsinfo, catalog, others[i], NULL, now);
	}
	SPI_finish();
	return (Datum) 0;
}

/* One row of the view; of a user without a row in the app's table, what else there is. */
static void
put_entitlement(ReturnSetInfo *rsinfo, const MbCatalog *catalog, MbText user_id, const MbUserRow *row, MbTime now)
{
	const MbTier *tiers = catalog->plans.tiers;
	MbText		tier = row != NULL ? row->tier : tiers[catalog->plans.default_tier].name;
	Datum		values[7] = {0};
	bool		nulls[7] = {false};

	values[0] = mb_spi_text_datum(user_id);
	nulls[1] = tier.data == NULL;
	if (!nulls[1])
		values[1] = mb_spi_text_datum(tier);
	nulls[2] = row == NULL || row->status == MB_STATUS_OTHER;
	if (!nulls[2])
		values[2] = CStringGetTextDatum(mb_status_label(row->status));
	values[5] = BoolGetDatum(row != NULL && row->cancel_at_period_end);
	nulls[3] = nulls[4] = nulls[6] = true;

	/* one row with a tier that is not configured must not hide the others */
	if (row == NULL || mb_plans_find_tier(&catalog->plans, row->tier) != MB_NO_TIER ||
		mb_entitlement_until(row, &catalog->plans) <= now)
	{
		MbEntitlement entitlement = mb_entitlement_at(catalog, user_id, row, now);

		values[3] = mb_spi_text_datum(tiers[entitlement.tier].name);
		values[4] = TimestampTzGetDatum(entitlement.until);
		values[6] = CStringGetTextDatum(entitlement.source);
		nulls[3] = nulls[6] = false;
		nulls[4] = entitlement.until == INT64_MAX;

		/* Stripe's event will end it, and is planned for then (R16) */
		if (nulls[4] && row != NULL && row->cancel_at_period_end && row->period_end != MB_NO_TIME &&
			strcmp(entitlement.source, "subscription") == 0)
		{
			values[4] = TimestampTzGetDatum(row->period_end);
			nulls[4] = false;
		}
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
effective_tier_datum(MbText user_id, MbTime at)
{
	const MbCatalog *catalog = mb_catalog_get();
	int			tier = mb_effective_tier(catalog, mb_app_table_canonical_user(user_id), at);

	return mb_spi_text_datum(catalog->plans.tiers[tier].name);
}

/* The row's tier; error MB002 if the catalogue does not know it. */
static int
row_tier(const MbCatalog *catalog, const MbUserRow *row)
{
	int			tier = mb_plans_find_tier(&catalog->plans, row->tier);

	if (tier == MB_NO_TIER)
		ereport(ERROR,
				(errcode(MB_ERRCODE_NOT_CONFIGURED),
				 errmsg("tier \"%.*s\" of table %s is not configured", row->tier.len, row->tier.data ? row->tier.data : "",
						mb_subscription_table),
				 errhint("Add a row with its rank to momento_billing.tier.")));
	return tier;
}

/* Of two entitlements to one tier, the one that lasts longer. */
static void
consider(MbEntitlement *entitlement, int tier, MbTime until, MbTime at, const char *source)
{
	if ((until <= at && until != INT64_MAX) || tier < entitlement->tier || (tier == entitlement->tier && until <= entitlement->until))
		return;
	entitlement->tier = tier;
	entitlement->until = until;
	entitlement->source = source;
}

/* No text is null. */
static void
push_text(JsonbParseState **state, const char *key, MbText value)
{
	JsonbValue	json = {.type = jbvString};

	json.val.string.val = (char *) key;
	json.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &json);
	json.type = value.data != NULL ? jbvString : jbvNull;
	json.val.string.val = (char *) value.data;
	json.val.string.len = value.len;
	pushJsonbValue(state, WJB_VALUE, &json);
}

static void
push_bool(JsonbParseState **state, const char *key, bool value)
{
	JsonbValue	json = {.type = jbvString};

	json.val.string.val = (char *) key;
	json.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &json);
	json.type = jbvBool;
	json.val.boolean = value;
	pushJsonbValue(state, WJB_VALUE, &json);
}

/* As JavaScript's toISOString() writes it; none for an infinite time. */
static MbText
iso_time(MbTime time)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(time) || timestamp2tm(time, NULL, &tm, &fsec, NULL, NULL) != 0)
		return MB_NO_TEXT;
	return mb_text(psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year, tm.tm_mon, tm.tm_mday,
							tm.tm_hour, tm.tm_min, tm.tm_sec, (int) (fsec / 1000)));
}
