/*
 * grants.c
 *	  Tiers and units given by hand: grant_tier(), revoke_tier_grant(),
 *	  grant_quota(), and what is kept of rows that the app wrote itself.
 *
 * tier_grant is the record; what is in force or will be is copied into
 * other_access, which is what reads look at.  So reads pay nothing for grants
 * while nobody has one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "account.h"
#include "catalog.h"
#include "consume.h"
#include "errors.h"
#include "grants.h"
#include "notify.h"
#include "reads.h"
#include "spi.h"

static int64 add_grant(MbText user_id, MbText tier, TimestampTz valid_until, MbText reason, MbText granted_by);
static void check_in_future(TimestampTz time, const char *argument);
static int	tier_now(MbText user_id);
static void notify_change(MbText user_id, int from);

PG_FUNCTION_INFO_V1(grant_tier);
PG_FUNCTION_INFO_V1(revoke_tier_grant);
PG_FUNCTION_INFO_V1(grant_quota);

bool
mb_grant_keep_row(const MbAppRow *row, const MbPlans *plans, MbTime now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum		args[3];
	MbTime		until = mb_entitlement_until(&row->row, plans);

	if (until <= now || mb_plans_find_tier(plans, row->row.tier) <= plans->default_tier)
		return false;
	args[0] = mb_spi_text_datum(row->user_id);
	args[1] = mb_spi_text_datum(row->row.tier);
	args[2] = TimestampTzGetDatum(until);
	mb_spi_run(&plan,
			   "SELECT FROM momento_billing.tier_grant WHERE user_id OPERATOR(pg_catalog.=) $1"
			   " AND tier OPERATOR(pg_catalog.=) $2 AND reason OPERATOR(pg_catalog.=) 'app row'"
			   " AND (valid_until IS NULL OR valid_until OPERATOR(pg_catalog.>=) $3)",
			   3, types, args, SPI_OK_SELECT);
	if (SPI_processed > 0)
		return false;
	add_grant(row->user_id, row->row.tier, until == INT64_MAX ? DT_NOEND : until,
			  MB_TEXT_LITERAL("app row"), MB_TEXT_LITERAL("momento_billing"));
	return true;
}

/* grant_tier(user_id text, tier text, valid_until timestamptz, reason text) */
Datum
grant_tier(PG_FUNCTION_ARGS)
{
	const MbCatalog *catalog = mb_catalog_get();
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	MbText		tier = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	TimestampTz valid_until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	MbText		reason = PG_ARGISNULL(3) ? MB_TEXT_LITERAL("") : mb_spi_text(PG_GETARG_DATUM(3), false);
	int64		id;
	int			from;

	if (mb_plans_find_tier(&catalog->plans, tier) == MB_NO_TIER)
		ereport(ERROR,
				(errcode(MB_ERRCODE_NOT_CONFIGURED),
				 errmsg("tier \"%.*s\" is not configured", tier.len, tier.data ? tier.data : ""),
				 errhint("The tiers are the rows of momento_billing.tier.")));
	check_in_future(valid_until, "valid_until");
	SPI_connect();
	from = tier_now(user_id);
	id = add_grant(user_id, tier, valid_until, reason, mb_text(GetUserNameFromId(GetSessionUserId(), false)));
	notify_change(user_id, from);
	SPI_finish();
	PG_RETURN_INT64(id);
}

/* revoke_tier_grant(grant_id bigint): it ends now; the record is kept. */
Datum
revoke_tier_grant(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan_find = NULL;
	static SPIPlanPtr plan_end = NULL;
	Oid			types[] = {INT8OID};
	Datum		args[1];
	bool		revoked;
	int			from;
	MbText		user_id;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grant_id must not be null")));
	args[0] = PG_GETARG_DATUM(0);
	mb_catalog_get();
	SPI_connect();
	mb_spi_run(&plan_find,
			   "SELECT user_id FROM momento_billing.tier_grant WHERE id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
			   1, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tier grant " INT64_FORMAT " does not exist", PG_GETARG_INT64(0)),
				 errhint("The grants are the rows of momento_billing.tier_grant.")));
	user_id = mb_spi_get_text(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	from = tier_now(user_id);
	mb_spi_run(&plan_end,
			   "WITH g AS (UPDATE momento_billing.tier_grant"
			   " SET valid_until = GREATEST(valid_from, pg_catalog.statement_timestamp())"
			   " WHERE id OPERATOR(pg_catalog.=) $1"
			   " AND (valid_until IS NULL OR valid_until OPERATOR(pg_catalog.>) pg_catalog.statement_timestamp())"
			   " RETURNING user_id, id),"
			   " o AS (DELETE FROM momento_billing.other_access AS a USING g"
			   " WHERE a.user_id OPERATOR(pg_catalog.=) g.user_id AND a.source OPERATOR(pg_catalog.=) 'tier_grant'"
			   " AND a.ref OPERATOR(pg_catalog.=) g.id::pg_catalog.text)"
			   " SELECT FROM g",
			   1, types, args, SPI_OK_SELECT);
	revoked = SPI_processed > 0;
	notify_change(user_id, from);
	SPI_finish();
	PG_RETURN_BOOL(revoked);
}

/* grant_quota(user_id text, feature text, amount bigint, expires_at timestamptz, reason text) */
Datum
grant_quota(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	const MbPlans *plans = &mb_catalog_get()->plans;
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	int			feature = mb_feature_argument(plans, mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1)));
	int64		amount = mb_amount_argument(PG_GETARG_DATUM(2), PG_ARGISNULL(2));
	TimestampTz expires_at = PG_ARGISNULL(3) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(3);
	MbText		reason = PG_ARGISNULL(4) ? MB_TEXT_LITERAL("") : mb_spi_text(PG_GETARG_DATUM(4), false);
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum		args[6];
	int64		id;
	bool		isnull;

	check_in_future(expires_at, "expires_at");
	args[0] = mb_spi_text_datum(user_id);
	args[1] = mb_spi_text_datum(plans->features[feature].name);
	args[2] = Int64GetDatum(amount);
	args[3] = TimestampTzGetDatum(expires_at);
	args[4] = mb_spi_text_datum(reason);
	args[5] = CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false));
	SPI_connect();
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.quota_grant (user_id, feature, amount, remaining, expires_at, reason, granted_by)"
			   " VALUES ($1, $2, $3, $3, CASE WHEN pg_catalog.isfinite($4) THEN $4 END,"
			   " CASE WHEN $5 OPERATOR(pg_catalog.<>) '' THEN $5 END, $6) RETURNING id",
			   6, types, args, SPI_OK_INSERT_RETURNING);
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PG_RETURN_INT64(id);
}

/* DT_NOEND is without end, an empty reason none. */
static int64
add_grant(MbText user_id, MbText tier, TimestampTz valid_until, MbText reason, MbText granted_by)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum		args[5];
	bool		isnull;

	args[0] = mb_spi_text_datum(user_id);
	args[1] = mb_spi_text_datum(tier);
	args[2] = TimestampTzGetDatum(valid_until);
	args[3] = mb_spi_text_datum(reason);
	args[4] = mb_spi_text_datum(granted_by);
	mb_spi_run(&plan,
			   "WITH g AS (INSERT INTO momento_billing.tier_grant (user_id, tier, valid_from, valid_until, reason, granted_by)"
			   " VALUES ($1, $2, pg_catalog.statement_timestamp(), CASE WHEN pg_catalog.isfinite($3) THEN $3 END,"
			   " CASE WHEN $4 OPERATOR(pg_catalog.<>) '' THEN $4 END, $5) RETURNING id, valid_from, valid_until),"
			   " o AS (INSERT INTO momento_billing.other_access (user_id, source, ref, tier, valid_from, valid_until)"
			   " SELECT $1, 'tier_grant', g.id::pg_catalog.text, $2, g.valid_from, g.valid_until FROM g)"
			   " SELECT id FROM g",
			   5, types, args, SPI_OK_SELECT);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
check_in_future(TimestampTz time, const char *argument)
{
	if (time <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be in the future", argument),
				 errhint("NULL is a grant without end.")));
}

/* The effective tier, with what this transaction has just changed. */
static int
tier_now(MbText user_id)
{
	int			tier;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	tier = mb_effective_tier(mb_catalog_get(), user_id, GetCurrentTimestamp());
	PopActiveSnapshot();
	return tier;
}

static void
notify_change(MbText user_id, int from)
{
	const MbTier *tiers = mb_catalog_get()->plans.tiers;
	int			to = tier_now(user_id);

	if (to != from)
		mb_notify_tier(user_id, tiers[from].name, tiers[to].name);
}
