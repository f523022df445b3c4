/*
 * settle.c
 *	  What becomes of an event's inbox row, once it was applied or failed.
 *
 * In the common case a row is updated in place, and no index is touched.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "direct.h"
#include "settings.h"
#include "settle.h"
#include "spi.h"
#include "subtransaction.h"

/* Columns of webhook_inbox, from 0, in the install script's order. */
enum
{
	COLUMN_STATUS = 9,
	COLUMN_REASON = 10,
	COLUMN_NEXT_ATTEMPT_AT = 12,
	COLUMN_PROCESSED_AT = 14,
	COLUMN_WAITING_FOR = 15
};

/* What becomes of an inbox row. */
typedef struct Settlement
{
	int64		id;
	ItemPointerData place;		/* as in MbInboxRow */
	MbText		status;
	MbText		reason;
	TimestampTz next_attempt_at;	/* MB_NO_TIME: none */
	MbText		waiting_for;
	MbText		error;			/* of this attempt */
	int			attempts;
} Settlement;

static SPIPlanPtr plan_processed = NULL;
static SPIPlanPtr plan_settle = NULL;

static bool find(int64 id, Settlement *settlement, bool *crashed);
static void try_again(Settlement *settlement, bool last, MbCounts *counts);
static Settlement settle(const MbInboxRow *row, const MbApplyEvent *event, MbCounts *counts);
static void write_settlements(const Settlement *settlements, int count);
static int	update_processed(const Settlement **settlements, int count);
static void copy_error(MbCounts *counts, MbText error);
static TimestampTz retry_at(int attempts);

void
mb_settle_events(const MbInboxRow *rows, const MbApplyEvent *events, int nevents, MbCounts *counts)
{
	Settlement *settlements = palloc(Max(nevents, 1) * sizeof(Settlement));

	for (int i = 0; i < nevents; i++)
		settlements[i] = settle(&rows[i], &events[i], counts);
	write_settlements(settlements, nevents);
	if (nevents > 0 && rows[nevents - 1].event_id.data != NULL)
		snprintf(counts->last_event, sizeof(counts->last_event), "%.*s",
				 rows[nevents - 1].event_id.len, rows[nevents - 1].event_id.data);
}

bool
mb_settle_failure(int64 id, const ErrorData *error, MbCounts *counts)
{
	Settlement	settlement;
	bool		crashed;

	if (!find(id, &settlement, &crashed))
		return false;
	settlement.error = mb_error_text(error);
	if (!mb_apply_is_conflict(error->sqlerrcode))
	{
		settlement.attempts++;
		settlement.reason = MB_TEXT_LITERAL("failed");
		counts->failed++;
		copy_error(counts, settlement.error);
	}
	else if (crashed)
		settlement.reason = MB_TEXT_LITERAL("crashed");
	try_again(&settlement, false, counts);
	return true;
}

void
mb_settle_end(int64 id, bool is_crash, MbCounts *counts)
{
	Settlement	settlement;
	bool		crashed;

	if (!find(id, &settlement, &crashed))
		return;
	settlement.error = is_crash ? MB_TEXT_LITERAL("the server crashed while this event was applied") :
		MB_TEXT_LITERAL("the worker was terminated while this event was applied");
	settlement.attempts++;
	settlement.reason = MB_TEXT_LITERAL("crashed");
	counts->failed++;
	copy_error(counts, settlement.error);
	try_again(&settlement, crashed && is_crash, counts);
}

/* Lock an event that is not settled; false if there is none, or it is locked. */
static bool
find(int64 id, Settlement *settlement, bool *crashed)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		args[] = {Int64GetDatum(id)};
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;

	mb_spi_run(&plan,
			   "SELECT attempts, status, waiting_for, reason FROM momento_billing.webhook_inbox"
			   " WHERE id OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) ANY ('{pending,waiting}') FOR UPDATE SKIP LOCKED",
			   1, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	*settlement = (Settlement)
	{
		.id = id,
		.next_attempt_at = MB_NO_TIME,
		.attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull)),
		.status = mb_spi_get_text(tuple, desc, 2),
		.waiting_for = mb_spi_get_text(tuple, desc, 3),
	};
	*crashed = mb_text_is(mb_spi_get_text(tuple, desc, 4), "crashed");
	return true;
}

/* Later, if that was not the last attempt. */
static void
try_again(Settlement *settlement, bool last, MbCounts *counts)
{
	if (settlement->attempts < mb_max_attempts && !last)
		settlement->next_attempt_at = retry_at(settlement->attempts);
	else
	{
		settlement->status = MB_TEXT_LITERAL("dead");
		settlement->waiting_for = MB_NO_TEXT;
		counts->dead++;
	}
	write_settlements(settlement, 1);
}

/* What an event's outcome means for its row. */
static Settlement
settle(const MbInboxRow *row, const MbApplyEvent *event, MbCounts *counts)
{
	Settlement	settlement = {
		.id = row->id,
		.place = row->place,
		.status = MB_TEXT_LITERAL("processed"),
		.reason = event->reason,
		.next_attempt_at = MB_NO_TIME,
		.error = event->error,
		.attempts = row->attempts,
	};

	/* Put off as it is; the lock is nobody's failure. */
	if (event->busy)
	{
		settlement.status = row->status;
		settlement.waiting_for = row->waiting_for;
		settlement.reason = row->crashed ? MB_TEXT_LITERAL("crashed") : MB_NO_TEXT;
		settlement.next_attempt_at = retry_at(row->attempts);
		return settlement;
	}

	switch (event->outcome)
	{
		case MB_OUTCOME_APPLIED:
		case MB_OUTCOME_STALE:
			break;
		case MB_OUTCOME_UNCHANGED:
		case MB_OUTCOME_DUPLICATE:
			if (settlement.reason.data == NULL)
				settlement.reason = mb_text(mb_outcome_label(event->outcome));
			break;
		case MB_OUTCOME_IGNORED:
			if (!event->conflict)
				settlement.status = MB_TEXT_LITERAL("ignored");
			else if (!row->reread || row->was_conflict)
				settlement.status = MB_TEXT_LITERAL("dead");
			else
			{
				/* what was no conflict when it came is none now */
				settlement.reason = MB_NO_TEXT;
			}
			break;
		case MB_OUTCOME_WAITING:
			settlement.status = MB_TEXT_LITERAL("waiting");
			settlement.waiting_for = event->waiting_for;
			if (event->error.data == NULL)
				settlement.next_attempt_at = row->received_at + mb_waiting_timeout * USECS_PER_SEC;
			else
			{
				counts->failed++;
				copy_error(counts, event->error);
				if (++settlement.attempts < mb_max_attempts)
					settlement.next_attempt_at = retry_at(settlement.attempts);
			}
			if (settlement.next_attempt_at <= GetCurrentTimestamp())
			{
				settlement.status = MB_TEXT_LITERAL("dead");
				settlement.waiting_for = MB_NO_TEXT;
				settlement.next_attempt_at = MB_NO_TIME;
			}
			break;
	}

	if (mb_text_is(settlement.status, "processed"))
		counts->processed++;
	else if (mb_text_is(settlement.status, "ignored"))
		counts->ignored++;
	else if (mb_text_is(settlement.status, "waiting"))
		counts->waiting++;
	else
		counts->dead++;
	return settlement;
}

static void
write_settlements(const Settlement *settlements, int count)
{
	Oid			processed_types[] = {INT8ARRAYOID};
	Oid			types[] = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID};
	Datum		args[7];
	const Settlement **processed = palloc(Max(count, 1) * sizeof(Settlement *));
	Datum	   *datums[3];
	MbText	   *texts[4];
	int			nprocessed = 0;
	int			n = 0;

	for (int i = 0; i < (int) lengthof(datums); i++)
		datums[i] = palloc(Max(count, 1) * sizeof(Datum));
	for (int i = 0; i < (int) lengthof(texts); i++)
		texts[i] = palloc(Max(count, 1) * sizeof(MbText));
	for (int i = 0; i < count; i++)
	{
		const Settlement *settlement = &settlements[i];

		if (settlement->reason.data == NULL && settlement->error.data == NULL && mb_text_is(settlement->status, "processed"))
		{
			processed[nprocessed++] = settlement;
			continue;
		}
		datums[0][n] = Int64GetDatum(settlement->id);
		datums[1][n] = TimestampTzGetDatum(settlement->next_attempt_at);
		datums[2][n] = Int32GetDatum(settlement->attempts);
		texts[0][n] = settlement->status;
		texts[1][n] = settlement->reason;
		texts[2][n] = settlement->waiting_for;
		texts[3][n] = settlement->error;
		n++;
	}

	nprocessed = update_processed(processed, nprocessed);
	if (nprocessed > 0)
	{
		for (int i = 0; i < nprocessed; i++)
			datums[0][n + i] = Int64GetDatum(processed[i]->id);
		args[0] = mb_spi_array(datums[0] + n, nprocessed, INT8OID);
		mb_spi_run(&plan_processed,
				   "UPDATE momento_billing.webhook_inbox"
				   " SET status = 'processed', reason = NULL, next_attempt_at = NULL, waiting_for = NULL,"
				   " processed_at = pg_catalog.clock_timestamp()"
				   " WHERE id OPERATOR(pg_catalog.=) ANY ($1)",
				   1, processed_types, args, SPI_OK_UPDATE);
	}
	if (n > 0)
	{
		args[0] = mb_spi_array(datums[0], n, INT8OID);
		args[1] = mb_spi_text_array(texts[0], n);
		args[2] = mb_spi_text_array(texts[1], n);
		args[3] = mb_spi_array(datums[1], n, TIMESTAMPTZOID);
		args[4] = mb_spi_text_array(texts[2], n);
		args[5] = mb_spi_text_array(texts[3], n);
		args[6] = mb_spi_array(datums[2], n, INT4OID);
		mb_spi_run(&plan_settle,
				   "UPDATE momento_billing.webhook_inbox AS i"
				   " SET status = n.status, reason = n.reason,"
				   " next_attempt_at = CASE WHEN pg_catalog.isfinite(n.next_attempt_at) THEN n.next_attempt_at END,"
				   " waiting_for = n.waiting_for,"
				   " last_error = CASE WHEN n.last_error IS NULL THEN i.last_error ELSE n.last_error END,"
				   " attempts = n.attempts,"
				   " payload = CASE WHEN n.reason OPERATOR(pg_catalog.=) 'forgotten' THEN NULL ELSE i.payload END,"
				   " processed_at = CASE WHEN n.status OPERATOR(pg_catalog.=) ANY ('{processed,ignored,dead}')"
				   " THEN pg_catalog.clock_timestamp() END"
				   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
				   " pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))"
				   " AS n (id, status, reason, next_attempt_at, waiting_for, last_error, attempts)"
				   " WHERE i.id OPERATOR(pg_catalog.=) n.id",
				   7, types, args, SPI_OK_UPDATE);
	}
}

/*
 * Mark rows as processed where they were read, without the executor.  Returns
 * how many of them are left, because they cannot be or have changed since.
 */
static int
update_processed(const Settlement **settlements, int count)
{
	Relation	rel;
	MbDirect	direct;
	Datum		status = mb_spi_text_datum(MB_TEXT_LITERAL("processed"));
	int			left = 0;

	if (count == 0)
		return 0;
	rel = table_open(mb_catalog_get()->inbox_relid, RowExclusiveLock);
	if (!mb_direct_is_possible(rel) || mb_force_spi)
	{
		table_close(rel, NoLock);
		return count;
	}
	mb_direct_begin(&direct, rel);
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < count; i++)
	{
		const Settlement *settlement = settlements[i];

		if (ItemPointerIsValid(&settlement->place) && mb_direct_fetch(&direct, &settlement->place))
		{
			Datum	   *values = direct.slot->tts_values;
			bool	   *nulls = direct.slot->tts_isnull;

			values[COLUMN_STATUS] = status;
			values[COLUMN_PROCESSED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
			nulls[COLUMN_PROCESSED_AT] = false;
			nulls[COLUMN_REASON] = nulls[COLUMN_NEXT_ATTEMPT_AT] = nulls[COLUMN_WAITING_FOR] = true;
			if (mb_direct_update(&direct, &settlement->place))
				continue;
		}
		settlements[left++] = settlement;
	}
	PopActiveSnapshot();
	mb_direct_end(&direct);
	table_close(rel, NoLock);
	return left;
}

/* For the view worker_status; cut at a character's border. */
static void
copy_error(MbCounts *counts, MbText error)
{
	int			len = pg_mbcliplen(error.data, error.len, sizeof(counts->last_error) - 1);

	memcpy(counts->last_error, error.data, len);
	counts->last_error[len] = '\0';
}

/* Doubling from retry_base to retry_max, with jitter of a fifth either way. */
static TimestampTz
retry_at(int attempts)
{
	double		delay = mb_retry_base;

	for (int i = 1; i < attempts && delay < mb_retry_max; i++)
		delay *= 2;
	delay = Min(delay, mb_retry_max) * (0.8 + 0.4 * ((double) random() / PG_INT32_MAX));
	return GetCurrentTimestamp() + (TimestampTz) (delay * 1000);
}
