/*
 * quota.c
 *	  quota_remaining(), in its three forms.
 *
 * The limit is that of the tier in effect now; units used are counted per
 * calendar month of UTC, and no row means none.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "reads.h"
#include "settings.h"
#include "spi.h"

typedef struct Period
{
	TimestampTz start;
	TimestampTz end;
} Period;

typedef struct Usage
{
	int64		used;
	int64		held;
} Usage;

static Datum all_features(FunctionCallInfo fcinfo, MbText user_id);
static Period current_period(void);
static TimestampTz month_start(int year, int month);
static Usage read_usage(const MbCatalog *catalog, MbText user_id, MbText feature, TimestampTz period_start);
static int64 remaining(int64 limit, Usage usage);
static int	feature_argument(const MbPlans *plans, MbText feature);

PG_FUNCTION_INFO_V1(quota_remaining);
PG_FUNCTION_INFO_V1(quota_remaining_all);
PG_FUNCTION_INFO_V1(quota_remaining_session);

/* quota_remaining(user_id text, feature text) */
Datum
quota_remaining(PG_FUNCTION_ARGS)
{
	const MbCatalog *catalog = mb_catalog_get();
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	int			feature = feature_argument(&catalog->plans, mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1)));
	int			tier = mb_effective_tier(catalog, user_id, GetCurrentStatementStartTimestamp());
	int64		limit = catalog->plans.features[feature].limits[tier];

	if (limit == MB_UNLIMITED)
		PG_RETURN_NULL();
	if (limit == MB_NOT_IN_PLAN)
		PG_RETURN_INT64(0);
	PG_RETURN_INT64(remaining(limit, read_usage(catalog, user_id, catalog->plans.features[feature].name,
												current_period().start)));
}

/* quota_remaining(user_id text) */
Datum
quota_remaining_all(PG_FUNCTION_ARGS)
{
	return all_features(fcinfo, mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0)));
}

/* quota_remaining() */
Datum
quota_remaining_session(PG_FUNCTION_ARGS)
{
	if (mb_user_id == NULL || mb_user_id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is not set", "momento_billing.user_id"),
				 errhint("SET LOCAL momento_billing.user_id = '...', or name the user in the call.")));
	return all_features(fcinfo, mb_user_argument(CStringGetTextDatum(mb_user_id), false));
}

static Datum
all_features(FunctionCallInfo fcinfo, MbText user_id)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const MbCatalog *catalog = mb_catalog_get();
	int			tier = mb_effective_tier(catalog, user_id, GetCurrentStatementStartTimestamp());
	Period		period = current_period();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < catalog->plans.nfeatures; i++)
	{
		const MbFeature *feature = &catalog->plans.features[i];
		int64		limit = feature->limits[tier];
		Usage		usage = read_usage(catalog, user_id, feature->name, period.start);
		Datum		values[10];
		bool		nulls[10] = {false};

		values[0] = mb_spi_text_datum(feature->name);
		values[1] = mb_spi_text_datum(catalog->plans.tiers[tier].name);
		values[2] = Int64GetDatum(usage.used);
		values[3] = Int64GetDatum(usage.held);
		values[4] = Int64GetDatum(limit);
		nulls[4] = limit < 0;
		values[5] = Int64GetDatum(limit == MB_NOT_IN_PLAN ? 0 : remaining(limit, usage));
		nulls[5] = limit == MB_UNLIMITED;
		values[6] = BoolGetDatum(limit == MB_UNLIMITED);
		values[7] = BoolGetDatum(limit != MB_NOT_IN_PLAN);
		values[8] = TimestampTzGetDatum(period.start);
		values[9] = TimestampTzGetDatum(period.end);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The calendar month of UTC, whatever the session's time zone. */
static Period
current_period(void)
{
	struct pg_tm tm;
	fsec_t		fsec;
	Period		period;

	/* a timestamp without zone is broken down as it is, which is UTC */
	if (timestamp2tm(GetCurrentStatementStartTimestamp(), NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "could not break down the current time");
	period.start = month_start(tm.tm_year, tm.tm_mon);
	period.end = tm.tm_mon == 12 ? month_start(tm.tm_year + 1, 1) : month_start(tm.tm_year, tm.tm_mon + 1);
	return period;
}

static TimestampTz
month_start(int year, int month)
{
	return (TimestampTz) (date2j(year, month, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

static Usage
read_usage(const MbCatalog *catalog, MbText user_id, MbText feature, TimestampTz period_start)
{
	Relation	rel = table_open(catalog->usage_relid, AccessShareLock);
	Datum		keys[3] = {mb_spi_text_datum(user_id), mb_spi_text_datum(feature), TimestampTzGetDatum(period_start)};
	Usage		usage = {0, 0};
	MbProbeScan scan;
	TupleTableSlot *slot;

	mb_probe_begin(&scan, &catalog->usage_probe, rel, keys);
	slot = mb_probe_next(&scan);
	if (slot != NULL)
	{
		/* user_id, feature, period_start, used, held */
		bool		isnull;

		usage.used = DatumGetInt64(slot_getattr(slot, 4, &isnull));
		usage.held = DatumGetInt64(slot_getattr(slot, 5, &isnull));
	}
	mb_probe_end(&scan);
	table_close(rel, NoLock);
	return usage;
}

/* A lower limit than what is used, after a downgrade, leaves nothing. */
static int64
remaining(int64 limit, Usage usage)
{
	if (usage.used >= limit || usage.held >= limit - usage.used)
		return 0;
	return limit - usage.used - usage.held;
}

/* The index of a feature; error 22023 if there is no such feature. */
static int
feature_argument(const MbPlans *plans, MbText feature)
{
	int			index;
	StringInfoData names;

	if (feature.data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feature must not be null")));
	index = mb_plans_find_feature(plans, feature);
	if (index >= 0)
		return index;
	initStringInfo(&names);
	for (int i = 0; i < plans->nfeatures; i++)
		appendStringInfo(&names, "%s%.*s", i == 0 ? "" : ", ", plans->features[i].name.len, plans->features[i].name.data);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown feature \"%.*s\"", feature.len, feature.data),
			 errhint("The features are: %s.", names.data)));
}
