/*
 * account.c
 *	  What a user has of a feature, read without locks.
 *
 * A common reader pays for one probe of the app's table and one of usage.
 * Reservations are looked at only if the row says that something is held, or
 * if units have been taken off a grant; grants only where somebody has one.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "account.h"
#include "app_table.h"
#include "reads.h"
#include "settings.h"
#include "spi.h"

static void choose(MbAccount *account, int feature);
static MbPeriod current_period(const MbAccount *account, const MbUserRow *row);
static void read_usage(MbAccount *account);
static bool read_grants(MbAccount *account);
static void read_expired(MbAccount *account);
static Datum int8_array(const MbUnits *units, bool ids);

void
mb_account_open(MbAccount *account, MbText user_id, bool to_write)
{
	MbUserRow	row;
	bool		found;

	account->catalog = mb_catalog_get();
	account->user_id = user_id;
	account->now = GetCurrentStatementStartTimestamp();
	account->exists = false;
	account->usage_lock = to_write && !RecoveryInProgress() ? RowExclusiveLock : AccessShareLock;
	found = mb_app_table_read(user_id, &row);
	account->tier = mb_entitlement_at(account->catalog, user_id, found ? &row : NULL, account->now).tier;
	account->period = current_period(account, found ? &row : NULL);
}

void
mb_account_choose(MbAccount *account, MbText feature)
{
	choose(account, mb_feature_argument(&account->catalog->plans, feature));
}

bool
mb_account_choose_known(MbAccount *account, MbText feature)
{
	int			index = mb_plans_find_feature(&account->catalog->plans, feature);

	if (index >= 0)
		choose(account, index);
	else
	{
		account->feature = feature;
		account->allowance.limit = MB_NOT_IN_PLAN;
	}
	return index >= 0;
}

void
mb_account_read(MbAccount *account, MbTime counted)
{
	bool		taken = false;

	account->counted = counted;
	account->allowance = (MbAllowance)
	{
		.limit = account->allowance.limit
	};
	account->has_expired = false;
	read_usage(account);
	if (account->catalog->has_quota_grants)
		taken = read_grants(account);
	if (account->allowance.held > 0 || taken)
		read_expired(account);
}

int
mb_feature_argument(const MbPlans *plans, MbText feature)
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

MbUnits
mb_units_from_datums(Datum plan, Datum grant_ids, Datum grant_units)
{
	MbUnits		units = {.plan = DatumGetInt64(plan)};
	Datum	   *ids;
	Datum	   *amounts;
	int			namounts;

	deconstruct_array(DatumGetArrayTypeP(grant_ids), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, NULL, &units.ngrants);
	deconstruct_array(DatumGetArrayTypeP(grant_units), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &amounts, NULL, &namounts);
	units.ngrants = Min(units.ngrants, namounts);
	units.grants = palloc(Max(units.ngrants, 1) * sizeof(MbGrantUnits));
	for (int i = 0; i < units.ngrants; i++)
	{
		units.grants[i].id = DatumGetInt64(ids[i]);
		units.grants[i].units = DatumGetInt64(amounts[i]);
	}
	return units;
}

Datum
mb_units_grant_ids(const MbUnits *units)
{
	return int8_array(units, true);
}

Datum
mb_units_grant_units(const MbUnits *units)
{
	return int8_array(units, false);
}

static void
choose(MbAccount *account, int feature)
{
	account->feature = account->catalog->plans.features[feature].name;
	account->allowance.limit = account->catalog->plans.features[feature].limits[account->tier];
}

/*
 * The subscription's month where the row gives access, else the calendar's.
 * A canceled subscription counts until its end: what has been used must not
 * be forgotten by canceling.
 */
static MbPeriod
current_period(const MbAccount *account, const MbUserRow *row)
{
	if (mb_quota_period == MB_QUOTA_BILLING && row != NULL && !TIMESTAMP_NOT_FINITE(row->period_start))
	{
		MbTime		until = mb_entitlement_until(row, &account->catalog->plans);

		if (until > account->now)
			return mb_period_billing(row->period_start, row->period_end, account->now);
	}
	return mb_period_calendar(account->now);
}

static void
read_usage(MbAccount *account)
{
	Relation	rel = table_open(account->catalog->usage_relid, account->usage_lock);
	Datum		keys[3] = {mb_spi_text_datum(account->user_id), mb_spi_text_datum(account->feature), TimestampTzGetDatum(account->counted)};
	MbProbeScan scan;
	TupleTableSlot *slot;

	mb_probe_begin(&scan, &account->catalog->usage_probe, rel, keys);
	slot = mb_probe_next(&scan);
	account->exists = slot != NULL;
	if (slot != NULL)
	{
		/* user_id, feature, period_start, used, held */
		bool		isnull;

		account->allowance.used = DatumGetInt64(slot_getattr(slot, 4, &isnull));
		account->allowance.held = DatumGetInt64(slot_getattr(slot, 5, &isnull));
		account->row = slot->tts_tid;
	}
	mb_probe_end(&scan);
	/* kept to the transaction's end, as the executor does */
	table_close(rel, NoLock);
}

/* True if units have been taken off some grant that is not over: holds that are may have done so. */
static bool
read_grants(MbAccount *account)
{
	Relation	rel = table_open(account->catalog->quota_grant_relid, AccessShareLock);
	Datum		keys[2] = {mb_spi_text_datum(account->user_id), mb_spi_text_datum(account->feature)};
	MbAllowance *allowance = &account->allowance;
	int			room = 0;
	bool		taken = false;
	MbProbeScan scan;
	TupleTableSlot *slot;

	mb_probe_begin(&scan, &account->catalog->quota_grant_probe, rel, keys);
	while ((slot = mb_probe_next(&scan)) != NULL)
	{
		/* id, user_id, feature, amount, remaining, expires_at */
		bool		isnull;
		MbQuotaGrant grant = {
			.id = DatumGetInt64(slot_getattr(slot, 1, &isnull)),
			.remaining = DatumGetInt64(slot_getattr(slot, 5, &isnull)),
		};
		Datum		expires_at = slot_getattr(slot, 6, &isnull);

		grant.expires_at = isnull ? INT64_MAX : DatumGetTimestampTz(expires_at);
		taken |= grant.expires_at > account->now && grant.remaining < DatumGetInt64(slot_getattr(slot, 4, &isnull));
		if (allowance->ngrants == room)
		{
			room = Max(room * 2, 4);
			allowance->grants = allowance->grants == NULL ? palloc(room * sizeof(MbQuotaGrant)) :
				repalloc(allowance->grants, room * sizeof(MbQuotaGrant));
		}
		allowance->grants[allowance->ngrants++] = grant;
	}
	mb_probe_end(&scan);
	table_close(rel, NoLock);
	return taken;
}

/* What holds that are over keep in the tables does not count. */
static void
read_expired(MbAccount *account)
{
	Relation	rel = table_open(account->catalog->quota_reservation_relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Datum		keys[2] = {mb_spi_text_datum(account->user_id), mb_spi_text_datum(account->feature)};
	MbProbeScan scan;
	TupleTableSlot *slot;

	mb_probe_begin(&scan, &account->catalog->quota_reservation_probe, rel, keys);
	while ((slot = mb_probe_next(&scan)) != NULL)
	{
		/*
		 * id, user_id, feature, period_start, amount, plan_units, grant_ids,
		 * grant_units, expires_at, state
		 */
		bool		isnull;
		MbUnits		units;

		/* the index has entries of older versions of the row too */
		if (!mb_text_is(mb_spi_text(slot_getattr(slot, 10, &isnull), false), "held") ||
			DatumGetTimestampTz(slot_getattr(slot, 9, &isnull)) > account->now)
			continue;
		slot_getsomeattrs(slot, desc->natts);
		units = mb_units_from_datums(slot->tts_values[5], slot->tts_values[6], slot->tts_values[7]);
		account->has_expired = true;
		if (DatumGetTimestampTz(slot->tts_values[3]) == account->counted)
			account->allowance.held -= Min(units.plan, account->allowance.held);
		(void) mb_allowance_give_back(&account->allowance, mb_units_total(&units), &units);
	}
	mb_probe_end(&scan);
	table_close(rel, NoLock);
}

static Datum
int8_array(const MbUnits *units, bool ids)
{
	Datum	   *elements = palloc(Max(units->ngrants, 1) * sizeof(Datum));

	for (int i = 0; i < units->ngrants; i++)
		elements[i] = Int64GetDatum(ids ? units->grants[i].id : units->grants[i].units);
	return mb_spi_array(elements, units->ngrants, INT8OID);
}
