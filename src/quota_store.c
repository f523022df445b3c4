/*
 * quota_store.c
 *	  Changing usage, reservations and grants.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "quota_store.h"
#include "spi.h"
#include "stats.h"

#define OF_USAGE \
	" WHERE user_id OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2"

/* Holds that are over. */
typedef struct Expired
{
	Datum		ids;			/* arrays */
	Datum		periods;
	int			count;
	MbUnits    *units;			/* of those that were ended */
} Expired;

static bool update_row(const MbAccount *account, int64 used, int64 held);
static void note_crossing(const MbAccount *account, int64 before);
static void usage_key(const MbAccount *account, Datum *args);
static void find_expired(const MbAccount *account, bool with_current, Expired *expired);
static bool lock_usage(MbAccount *account, const Expired *expired);
static void insert_usage(const MbAccount *account);
static void end_expired(MbAccount *account, Expired *expired);
static void lock_grants(MbAccount *account);

bool
mb_quota_add(MbAccount *account, int64 used, int64 held)
{
	static SPIPlanPtr plan_update = NULL;
	static SPIPlanPtr plan_insert = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID};
	MbAllowance *allowance = &account->allowance;
	Datum		args[6];
	bool		isnull;

	if (!account->exists)
	{
		usage_key(account, args);
		args[3] = Int64GetDatum(used);
		args[4] = Int64GetDatum(held);
		mb_spi_run(&plan_insert,
				   "INSERT INTO momento_billing.usage (user_id, feature, period_start, used, held)"
				   " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, feature, period_start) DO NOTHING",
				   5, types, args, SPI_OK_INSERT);
		if (SPI_processed == 0)
			return false;
	}
	if (!account->exists || update_row(account, used, held))
	{
		allowance->used += used;
		allowance->held += held;
		note_crossing(account, allowance->used - used);
		return true;
	}
	usage_key(account, args);
	args[3] = Int64GetDatum(used);
	args[4] = Int64GetDatum(held);
	args[5] = Int64GetDatum((allowance->limit == MB_UNLIMITED ? INT64_MAX : allowance->limit) - used - held);
	mb_spi_run(&plan_update,
			   "UPDATE momento_billing.usage SET used = used OPERATOR(pg_catalog.+) $4, held = held OPERATOR(pg_catalog.+) $5,"
			   " updated_at = pg_catalog.clock_timestamp()"
			   OF_USAGE " AND period_start OPERATOR(pg_catalog.=) $3"
			   " AND used OPERATOR(pg_catalog.<=) ($6 OPERATOR(pg_catalog.-) held)"
			   " RETURNING used, held",
			   6, types, args, SPI_OK_UPDATE_RETURNING);
	if (SPI_processed == 0)
		return false;
	allowance->used = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	allowance->held = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	note_crossing(account, allowance->used - used);
	return true;
}

void
mb_quota_lock(MbAccount *account, MbTime counted, bool with_current)
{
	Expired		expired;

	/* not first a weaker lock on a table and then this one */
	LockRelationOid(account->catalog->usage_relid, RowExclusiveLock);
	LockRelationOid(account->catalog->quota_reservation_relid, RowExclusiveLock);
	LockRelationOid(account->catalog->quota_grant_relid, RowExclusiveLock);
	account->counted = counted;

	/*
	 * Rows are locked from the newest on, so the current period's must be
	 * there: who is inserting it is waited for before any is locked.
	 */
	if (!account->exists && counted == account->period.start)
		insert_usage(account);
	find_expired(account, with_current, &expired);
	while (!lock_usage(account, &expired))
		insert_usage(account);
	end_expired(account, &expired);
	lock_grants(account);
	for (int i = 0; i < expired.count; i++)
		(void) mb_allowance_give_back(&account->allowance, mb_units_total(&expired.units[i]), &expired.units[i]);
	account->has_expired = false;
}

void
mb_quota_write(MbAccount *account)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_grants = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID};
	Oid			grants_types[] = {INT8ARRAYOID, INT8ARRAYOID};
	const MbAllowance *allowance = &account->allowance;
	Datum		args[5];

	usage_key(account, args);
	args[3] = Int64GetDatum(allowance->used);
	args[4] = Int64GetDatum(allowance->held);
	mb_spi_run(&plan,
			   "UPDATE momento_billing.usage SET used = $4, held = $5, updated_at = pg_catalog.clock_timestamp()"
			   OF_USAGE " AND period_start OPERATOR(pg_catalog.=) $3",
			   5, types, args, SPI_OK_UPDATE);
	if (SPI_processed != 1)
		elog(ERROR, "a locked row of usage has gone");
	note_crossing(account, account->locked_used);
	if (allowance->ngrants > 0)
	{
		Datum	   *ids = palloc(allowance->ngrants * sizeof(Datum));
		Datum	   *remaining = palloc(allowance->ngrants * sizeof(Datum));
		Datum		grants_args[2];

		for (int i = 0; i < allowance->ngrants; i++)
		{
			ids[i] = Int64GetDatum(allowance->grants[i].id);
			remaining[i] = Int64GetDatum(allowance->grants[i].remaining);
		}
		grants_args[0] = mb_spi_array(ids, allowance->ngrants, INT8OID);
		grants_args[1] = mb_spi_array(remaining, allowance->ngrants, INT8OID);
		mb_spi_run(&plan_grants,
				   "UPDATE momento_billing.quota_grant AS g SET remaining = n.remaining"
				   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS n (id, remaining)"
				   " WHERE g.id OPERATOR(pg_catalog.=) n.id AND g.remaining OPERATOR(pg_catalog.<>) n.remaining",
				   2, grants_types, grants_args, SPI_OK_UPDATE);
	}
}

int64
mb_quota_insert_reservation(const MbAccount *account, int64 amount, const MbUnits *units, MbTime expires_at)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID};
	Datum		args[8];
	bool		isnull;

	usage_key(account, args);
	args[3] = Int64GetDatum(amount);
	args[4] = Int64GetDatum(units->plan);
	args[5] = mb_units_grant_ids(units);
	args[6] = mb_units_grant_units(units);
	args[7] = TimestampTzGetDatum(expires_at);
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.quota_reservation"
			   " (user_id, feature, period_start, amount, plan_units, grant_ids, grant_units, expires_at)"
			   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
			   8, types, args, SPI_OK_INSERT_RETURNING);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

bool
mb_quota_read_reservation(int64 id, bool lock, MbReservation *reservation)
{
#define READ_RESERVATION \
	"SELECT user_id, feature, period_start, amount, plan_units, grant_ids, grant_units, expires_at, state" \
	" FROM momento_billing.quota_reservation WHERE id OPERATOR(pg_catalog.=) $1"
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_lock = NULL;
	Oid			types[] = {INT8OID};
	Datum		args[1] = {Int64GetDatum(id)};
	HeapTuple	tuple;
	TupleDesc	desc;
	Datum		values[9];

	if (lock)
		mb_spi_run(&plan_lock, READ_RESERVATION " FOR NO KEY UPDATE", 1, types, args, SPI_OK_SELECT);
	else
		mb_spi_run(&plan, READ_RESERVATION, 1, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	for (int i = 0; i < (int) lengthof(values); i++)
	{
		bool		isnull;

		values[i] = SPI_getbinval(tuple, desc, i + 1, &isnull);
	}
	*reservation = (MbReservation)
	{
		.id = id,
		.user_id = mb_spi_text(values[0], false),
		.feature = mb_spi_text(values[1], false),
		.period_start = DatumGetTimestampTz(values[2]),
		.amount = DatumGetInt64(values[3]),
		.units = mb_units_from_datums(values[4], values[5], values[6]),
		.expires_at = DatumGetTimestampTz(values[7]),
		.state = mb_spi_text(values[8], false),
	};
	return true;
}

void
mb_quota_update_reservation(const MbReservation *reservation)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID, TEXTOID};
	Datum		args[7];

	args[0] = Int64GetDatum(reservation->id);
	args[1] = TimestampTzGetDatum(reservation->period_start);
	args[2] = Int64GetDatum(reservation->amount);
	args[3] = Int64GetDatum(reservation->units.plan);
	args[4] = mb_units_grant_ids(&reservation->units);
	args[5] = mb_units_grant_units(&reservation->units);
	args[6] = mb_spi_text_datum(reservation->state);
	mb_spi_run(&plan,
			   "UPDATE momento_billing.quota_reservation SET period_start = $2, amount = $3,"
			   " plan_units = $4, grant_ids = $5, grant_units = $6, state = $7"
			   " WHERE id OPERATOR(pg_catalog.=) $1",
			   7, types, args, SPI_OK_UPDATE);
}

/*
 * Update the very version of the row that was read, without the executor,
 * which would cost as much as all the rest.  False if it is not the newest any
 * more, when who has changed it has ended; or if somebody has put triggers,
 * indexes, checks or generated columns on the table, which are the executor's
 * business.
 */
static bool
update_row(const MbAccount *account, int64 used, int64 held)
{
	Relation	rel;
	const TupleConstr *constr;
	List	   *indexes;
	TupleTableSlot *old;
	TupleTableSlot *new;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	MbUpdateIndexes update_indexes;
	bool		updated = false;

	PreventCommandIfReadOnly("UPDATE");
	rel = table_open(account->catalog->usage_relid, RowExclusiveLock);
	constr = RelationGetDescr(rel)->constr;
	indexes = RelationGetIndexList(rel);
	if (rel->trigdesc != NULL || (constr != NULL && (constr->num_check > 0 || constr->has_generated_stored)) ||
		list_length(indexes) != 1 || linitial_oid(indexes) != account->catalog->usage_probe.indexid)
	{
		table_close(rel, NoLock);
		return false;
	}
	old = table_slot_create(rel, NULL);
	new = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	if (table_tuple_fetch_row_version(rel, (ItemPointer) &account->row, GetActiveSnapshot(), old))
	{
		slot_getallattrs(old);
		memcpy(new->tts_values, old->tts_values, new->tts_tupleDescriptor->natts * sizeof(Datum));
		memcpy(new->tts_isnull, old->tts_isnull, new->tts_tupleDescriptor->natts * sizeof(bool));

		/* user_id, feature, period_start, used, held, updated_at */
		new->tts_values[3] = Int64GetDatum(DatumGetInt64(old->tts_values[3]) + used);
		new->tts_values[4] = Int64GetDatum(DatumGetInt64(old->tts_values[4]) + held);
		new->tts_values[5] = TimestampTzGetDatum(GetCurrentTimestamp());
		ExecStoreVirtualTuple(new);
		updated = table_tuple_update(rel, (ItemPointer) &account->row, new, GetCurrentCommandId(true), GetActiveSnapshot(),
									 InvalidSnapshot, true, &failure, &lock_mode, &update_indexes) == TM_Ok;

		/*
		 * the page was full: the new version has no place in the old one's
		 * chain
		 */
		if (updated && update_indexes)
		{
			Relation	index = index_open(linitial_oid(indexes), RowExclusiveLock);

			mb_index_insert(index, new->tts_values, new->tts_isnull, &new->tts_tid, rel, UNIQUE_CHECK_YES);
			index_close(index, NoLock);
		}
	}
	ExecDropSingleTupleTableSlot(new);
	ExecDropSingleTupleTableSlot(old);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return updated;
}

/*
 * When more is used, and only then, a share of the limit may be reached: the
 * worker tells the app, once.  Who leaps over 80 percent is told of 100.
 */
static void
note_crossing(const MbAccount *account, int64 before)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID};
	int64		limit = account->allowance.limit;
	int64		used = account->allowance.used;
	int64		percent_80 = mb_allowance_80_percent(limit);
	Datum		args[4];
	bool		all;

	if (limit <= 0 || used < percent_80)
		return;
	all = used >= limit && before < limit;
	if (!all && before >= percent_80)
		return;
	usage_key(account, args);
	args[3] = BoolGetDatum(all);
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.quota_crossing (user_id, feature, period_start, percent, notified)"
			   " SELECT $1, $2, $3, 80, $4 UNION ALL SELECT $1, $2, $3, 100, false WHERE $4"
			   " ON CONFLICT (user_id, feature, period_start, percent) DO NOTHING",
			   4, types, args, SPI_OK_INSERT);
	if (SPI_processed > 0)
		mb_stats_wake_at_end();
}

/* $1 to $3 */
static void
usage_key(const MbAccount *account, Datum *args)
{
	args[0] = mb_spi_text_datum(account->user_id);
	args[1] = mb_spi_text_datum(account->feature);
	args[2] = TimestampTzGetDatum(account->counted);
}

/*
 * Holds that are over, as far as can be seen before anything is locked, and
 * the periods whose rows are to be locked beside the counted one's.
 */
static void
find_expired(const MbAccount *account, bool with_current, Expired *expired)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum		args[3];
	Datum	   *ids;
	Datum	   *periods;

	usage_key(account, args);
	args[2] = TimestampTzGetDatum(account->now);
	mb_spi_run(&plan,
			   "SELECT id, period_start FROM momento_billing.quota_reservation"
			   OF_USAGE " AND state OPERATOR(pg_catalog.=) 'held' AND expires_at OPERATOR(pg_catalog.<=) $3",
			   3, types, args, SPI_OK_SELECT);
	expired->count = (int) SPI_processed;
	ids = palloc(Max(expired->count, 1) * sizeof(Datum));
	periods = palloc((expired->count + 1) * sizeof(Datum));
	for (int i = 0; i < expired->count; i++)
	{
		bool		isnull;

		ids[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		periods[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
	}
	expired->ids = mb_spi_array(ids, expired->count, INT8OID);
	periods[expired->count] = TimestampTzGetDatum(account->period.start);
	expired->periods = mb_spi_array(periods, expired->count + with_current, TIMESTAMPTZOID);
}

/*
 * The counted period, and those of holds that are over, the newest first.
 * False if there is no row of the counted period.
 */
static bool
lock_usage(MbAccount *account, const Expired *expired)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZARRAYOID};
	Datum		args[4];
	bool		found = false;

	usage_key(account, args);
	args[3] = expired->periods;
	mb_spi_run(&plan,
			   "SELECT period_start, used, held FROM momento_billing.usage"
			   OF_USAGE " AND (period_start OPERATOR(pg_catalog.=) $3 OR period_start OPERATOR(pg_catalog.=) ANY ($4))"
			   " ORDER BY period_start DESC FOR NO KEY UPDATE",
			   4, types, args, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		if (DatumGetTimestampTz(SPI_getbinval(tuple, desc, 1, &isnull)) != account->counted)
			continue;
		account->allowance.used = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		account->locked_used = account->allowance.used;
		account->allowance.held = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
		found = true;
	}
	return found;
}

static void
insert_usage(const MbAccount *account)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum		args[3];

	usage_key(account, args);
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.usage (user_id, feature, period_start) VALUES ($1, $2, $3)"
			   " ON CONFLICT (user_id, feature, period_start) DO NOTHING",
			   3, types, args, SPI_OK_INSERT);
}

/*
 * Holds that are over end here, whoever made them: their units of the plan are
 * free in the period that counts them; those of grants are the caller's to
 * give back.  Only those that were found before: the rows that count them are
 * locked.
 */
static void
end_expired(MbAccount *account, Expired *expired)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_usage = NULL;
	Oid			types[] = {INT8ARRAYOID};
	Oid			usage_types[] = {TEXTOID, TEXTOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID};
	Datum		args[4];
	Datum	   *periods;
	Datum	   *held;

	if (expired->count == 0)
		return;
	mb_spi_run(&plan,
			   "UPDATE momento_billing.quota_reservation SET state = 'expired'"
			   " WHERE id OPERATOR(pg_catalog.=) ANY ($1) AND state OPERATOR(pg_catalog.=) 'held'"
			   " RETURNING period_start, plan_units, grant_ids, grant_units",
			   1, types, &expired->ids, SPI_OK_UPDATE_RETURNING);
	expired->count = (int) SPI_processed;
	expired->units = palloc(Max(expired->count, 1) * sizeof(MbUnits));
	periods = palloc(Max(expired->count, 1) * sizeof(Datum));
	held = palloc(Max(expired->count, 1) * sizeof(Datum));
	for (int i = 0; i < expired->count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MbUnits    *units = &expired->units[i];
		bool		isnull;

		periods[i] = SPI_getbinval(tuple, desc, 1, &isnull);
		held[i] = SPI_getbinval(tuple, desc, 2, &isnull);
		*units = mb_units_from_datums(held[i], SPI_getbinval(tuple, desc, 3, &isnull), SPI_getbinval(tuple, desc, 4, &isnull));
		if (DatumGetTimestampTz(periods[i]) == account->counted)
			account->allowance.held -= Min(units->plan, account->allowance.held);
	}
	usage_key(account, args);
	args[2] = mb_spi_array(periods, expired->count, TIMESTAMPTZOID);
	args[3] = mb_spi_array(held, expired->count, INT8OID);
	mb_spi_run(&plan_usage,
			   "UPDATE momento_billing.usage AS u SET held = GREATEST(u.held OPERATOR(pg_catalog.-) n.held, 0),"
			   " updated_at = pg_catalog.clock_timestamp()"
			   " FROM (SELECT p.period_start, pg_catalog.sum(p.held)::pg_catalog.int8 AS held"
			   " FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) AS p (period_start, held)"
			   " GROUP BY p.period_start) AS n"
			   " WHERE u.user_id OPERATOR(pg_catalog.=) $1 AND u.feature OPERATOR(pg_catalog.=) $2"
			   " AND u.period_start OPERATOR(pg_catalog.=) n.period_start",
			   4, usage_types, args, SPI_OK_UPDATE);
}

/* All that the user ever got: what is given back may belong to any of them. */
static void
lock_grants(MbAccount *account)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID};
	MbAllowance *allowance = &account->allowance;
	Datum		args[3];

	allowance->ngrants = 0;
	if (!account->catalog->has_quota_grants)
		return;
	usage_key(account, args);
	mb_spi_run(&plan,
			   "SELECT id, remaining, expires_at FROM momento_billing.quota_grant"
			   OF_USAGE " ORDER BY id FOR NO KEY UPDATE",
			   2, types, args, SPI_OK_SELECT);
	allowance->ngrants = (int) SPI_processed;
	allowance->grants = palloc(Max(allowance->ngrants, 1) * sizeof(MbQuotaGrant));
	for (int i = 0; i < allowance->ngrants; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MbQuotaGrant *grant = &allowance->grants[i];
		bool		isnull;

		grant->id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		grant->remaining = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		grant->expires_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 3, &isnull));
		if (isnull)
			grant->expires_at = INT64_MAX;
	}
}
