/*
 * drain.c
 *	  Which events are due, in what batches, and what becomes of failures.
 *
 * Ids are given out before they commit, so the inbox does not grow in the
 * order of its ids.  The cursor always advances; ids it passed over are gaps.
 * A gap can still be filled only by a transaction that held the inbox's
 * RowExclusiveLock when the gap was seen, because the lock is taken before
 * the id.  So a gap is looked at again until no such transaction is left, and
 * once more after that.  Neither an old snapshot nor an idle transaction
 * elsewhere in the cluster has any part in it.
 *
 * What a restart begins with is drain_state.low_water: every id up to it is
 * settled or was seen not to exist.  It may lag behind; what is settled is
 * then read again and passed over.
 *
 * A batch is one transaction.  If it fails, it is halved until the event that
 * fails is alone; that one gets a retry with backoff, or is dead, and the
 * others go on.
 *
 * Memory: "mb drain" lives as long as the drain; "mb drain batch" below it is
 * reset with each batch.  A transaction's results are in its SPI connection.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "app_table.h"
#include "busy.h"
#include "catalog.h"
#include "compat.h"
#include "drain.h"
#include "settings.h"
#include "spi.h"
#include "subtransaction.h"

/* Payloads held in memory at once; a batch is cut before it exceeds this. */
#define MAX_BATCH_BYTES (16 * 1024 * 1024)

typedef struct Range
{
	int64		first;
	int64		last;
} Range;

/* Gaps that one look at the inbox found. */
typedef struct GapSet
{
	Range	   *ranges;
	int			nranges;
	VirtualTransactionId *holders;	/* who may still fill them */
	int			nholders;
} GapSet;

struct MbDrain
{
	bool		own_transactions;
	MemoryContext context;
	MemoryContext batch_context;
	pg_uuid_t	incarnation;	/* of drain_state, as last seen */
	int64		stored;			/* low_water, as last seen or stored */
	int64		cursor;			/* every id up to it is settled or a gap */
	List	   *gaps;			/* of GapSet, oldest first */
	bool		careful;		/* somebody's locks were in the way lately */
};

/* What one look at the inbox found. */
typedef struct Found
{
	int			limit;
	bool		locked;			/* false: another drainer is at it */
	int64	   *due;			/* sorted, each once */
	int			ndue;
	int			nseen;
	int64		cursor;			/* to be the drain's */
	GapSet	   *gaps;			/* to be added to the drain's, or NULL */
	List	   *closed;			/* to be removed */
	MemoryContext context;		/* outlives the transaction that looks */
} Found;

/* What becomes of an inbox row. */
typedef struct Settlement
{
	int64		id;
	MbText		status;
	MbText		reason;
	TimestampTz next_attempt_at;	/* MB_NO_TIME: none */
	MbText		waiting_for;
	MbText		error;			/* of this attempt */
	int			attempts;
} Settlement;

/* What transact() runs. */
typedef struct Step
{
	MbDrain    *drain;
	void		(*step) (MbDrain *drain, void *arg);
	void	   *arg;
} Step;

/* Events to be applied in one transaction. */
typedef struct Part
{
	const int64 *ids;
	int			nids;
	int			done;			/* how many of them were taken */
	bool		locked;			/* false: another drainer is at it */
	bool		busy;			/* were some of them put off? */
	MbCounts	counts;
} Part;

typedef struct Failure
{
	int64		id;
	const ErrorData *error;
	MbCounts   *counts;
} Failure;

typedef enum PlanId
{
	PLAN_LOCK_STATE,
	PLAN_TRY_LOCK_STATE,
	PLAN_ADD_STATE,
	PLAN_SAVE_STATE,
	PLAN_GAPS,
	PLAN_DUE,
	PLAN_NEW,
	PLAN_LOAD,
	PLAN_SETTLE_PROCESSED,
	PLAN_SETTLE,
	PLAN_FAILED,
	NUM_PLANS
} PlanId;

static SPIPlanPtr plans[NUM_PLANS];

static ErrorData *transact(MbDrain *drain, void (*step) (MbDrain *drain, void *arg), void *arg);
static void run_step(void *arg);
static void look(MbDrain *drain, void *arg);
static bool lock_state(MbDrain *drain);
static int64 low_water(const MbDrain *drain);
static void look_at_gaps(MbDrain *drain, Found *found);
static void look_at_due(Found *found);
static void look_at_new(MbDrain *drain, Found *found);
static GapSet *make_gaps(MbDrain *drain, const Range *ranges, int nranges);
static void add_gaps(MbDrain *drain, GapSet *gaps);
static void add_due(Found *found, int64 id);
static void advance(MbDrain *drain, Found *found);
static bool process(MbDrain *drain, const int64 *ids, int nids, MbCounts *counts);
static void process_part(MbDrain *drain, void *arg);
static int	load(const int64 *ids, int nids, MbInboxRow **rows, MbApplyEvent **events, int *nevents);
static void fail(MbDrain *drain, int64 id, const ErrorData *error, MbCounts *counts);
static void record_failure(MbDrain *drain, void *arg);
static void add_counts(MbCounts *counts, const MbCounts *more);
static Settlement settle(const MbInboxRow *row, const MbApplyEvent *event, MbCounts *counts);
static void write_settlements(const Settlement *settlements, int count);
static void copy_error(MbCounts *counts, MbText error);
static TimestampTz retry_at(int attempts);
static void run(PlanId plan, const char *sql, int nargs, Oid *types, Datum *args, int expected);
static Datum id_array(const int64 *ids, int nids);
static int64 get_int64(uint64 row, int column);
static int	id_cmp(const void *a, const void *b);

PG_FUNCTION_INFO_V1(drain_inbox);

/*
 * drain_inbox(max_events int)
 *
 * One drainer at a time: waits for another, which may be the worker's batch.
 */
Datum
drain_inbox(PG_FUNCTION_ARGS)
{
	int			max_events = PG_ARGISNULL(0) ? INT_MAX : PG_GETARG_INT32(0);
	MbDrain    *drain;
	MbCounts	counts = {0};
	int64		total = 0;
	int			n;

	if (max_events < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must not be negative")));
	mb_catalog_get();
	mb_app_table_lock_table();

	/* The worker keeps away meanwhile, and there may be more than max_events. */
	mb_stats_wake_at_end();
	drain = mb_drain_create(false);
	while (total < max_events &&
		   (n = mb_drain_batch(drain, Min(mb_batch_size, max_events - total), &counts)) > 0)
		total = counts.processed + counts.ignored + counts.waiting + counts.dead + counts.failed;
	MemoryContextDelete(drain->context);
	PG_RETURN_INT64(counts.processed + counts.ignored + counts.waiting + counts.dead);
}

MbDrain *
mb_drain_create(bool own_transactions)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mb drain", ALLOCSET_DEFAULT_SIZES);
	MbDrain    *drain = MemoryContextAllocZero(context, sizeof(MbDrain));

	drain->own_transactions = own_transactions;
	drain->context = context;
	drain->batch_context = AllocSetContextCreate(context, "mb drain batch", ALLOCSET_DEFAULT_SIZES);
	return drain;
}

int
mb_drain_batch(MbDrain *drain, int limit, MbCounts *counts)
{
	MemoryContext old_context = MemoryContextSwitchTo(drain->batch_context);
	Found		found = {.context = drain->batch_context,.limit = limit};
	ErrorData  *error = transact(drain, look, &found);
	int			nseen = 0;

	if (error != NULL)
		ReThrowError(error);

	/* Without the lock at either moment nothing was settled: do not move on. */
	if (found.locked && process(drain, found.due, found.ndue, counts))
	{
		advance(drain, &found);
		nseen = found.nseen;
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(drain->batch_context);
	return nseen;
}

void
mb_drain_settle(const MbInboxRow *rows, const MbApplyEvent *events, int nevents, MbCounts *counts)
{
	Settlement *settlements = palloc(Max(nevents, 1) * sizeof(Settlement));

	for (int i = 0; i < nevents; i++)
		settlements[i] = settle(&rows[i], &events[i], counts);
	write_settlements(settlements, nevents);
	if (nevents > 0 && rows[nevents - 1].event_id.data != NULL)
		snprintf(counts->last_event, sizeof(counts->last_event), "%.*s",
				 rows[nevents - 1].event_id.len, rows[nevents - 1].event_id.data);
}

/*
 * Run a step in a transaction of its own, or in a subtransaction, with an SPI
 * connection.  Returns the error that rolled it back, in the current context,
 * or NULL.
 */
static ErrorData *
transact(MbDrain *drain, void (*step) (MbDrain *drain, void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	Step		full = {drain, step, arg};
	ErrorData  *volatile error = NULL;

	if (!drain->own_transactions)
		return mb_subtransaction_run(run_step, &full);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PG_TRY();
	{
		run_step(&full);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(false);
	return error;
}

static void
run_step(void *arg)
{
	Step	   *step = arg;

	/* payloads are fetched out of line under this snapshot */
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	step->step(step->drain, step->arg);
	SPI_finish();
	PopActiveSnapshot();
}

/* Step: what is due? */
static void
look(MbDrain *drain, void *arg)
{
	Found	   *found = arg;
	int64		water;
	int			n = 0;

	found->locked = lock_state(drain);
	if (!found->locked)
		return;
	found->cursor = drain->cursor;
	water = low_water(drain);
	if (water > drain->stored && !IsolationUsesXactSnapshot())
	{
		Oid			types[] = {INT8OID};
		Datum		args[] = {Int64GetDatum(water)};

		run(PLAN_SAVE_STATE, "UPDATE momento_billing.drain_state SET low_water = $1", 1, types, args, SPI_OK_UPDATE);
		drain->stored = water;
	}

	look_at_gaps(drain, found);
	look_at_due(found);
	look_at_new(drain, found);

	qsort(found->due, found->ndue, sizeof(int64), id_cmp);
	for (int i = 0; i < found->ndue; i++)
		if (n == 0 || found->due[n - 1] != found->due[i])
			found->due[n++] = found->due[i];
	found->ndue = n;
}

/*
 * Lock the state's row, which makes one drainer at a time, and take the
 * position from it.  The worker does not wait for a client that drains, which
 * may sit in its transaction: it naps instead, and returns false.
 */
static bool
lock_state(MbDrain *drain)
{
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;
	int64		stored;
	pg_uuid_t  *incarnation;

	for (;;)
	{
		if (drain->own_transactions)
			run(PLAN_TRY_LOCK_STATE, "SELECT low_water, incarnation FROM momento_billing.drain_state FOR UPDATE SKIP LOCKED",
				0, NULL, NULL, SPI_OK_SELECT);
		else
			run(PLAN_LOCK_STATE, "SELECT low_water, incarnation FROM momento_billing.drain_state FOR UPDATE",
				0, NULL, NULL, SPI_OK_SELECT);
		if (SPI_processed == 1)
			break;

		/* No row: the first drain ever, or the first after a TRUNCATE. */
		run(PLAN_ADD_STATE, "INSERT INTO momento_billing.drain_state (low_water) VALUES (0) ON CONFLICT DO NOTHING",
			0, NULL, NULL, SPI_OK_INSERT);
		if (SPI_processed == 0 && drain->own_transactions)
			return false;
	}

	/*
	 * Another incarnation, or a position before the one that we know, is
	 * another inbox: truncated, restored or made anew.  Our own position may
	 * be ahead of the stored one, never behind it: a client may have drained.
	 */
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	stored = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	incarnation = DatumGetUUIDP(SPI_getbinval(tuple, desc, 2, &isnull));
	if (memcmp(incarnation, &drain->incarnation, sizeof(pg_uuid_t)) != 0 || stored < drain->stored)
	{
		drain->incarnation = *incarnation;
		drain->cursor = 0;
		drain->gaps = NIL;
	}
	drain->stored = stored;
	drain->cursor = Max(drain->cursor, stored);
	return true;
}

static int64
low_water(const MbDrain *drain)
{
	int64		water = drain->cursor;
	ListCell   *lc;

	foreach(lc, drain->gaps)
	{
		GapSet	   *set = lfirst(lc);

		water = Min(water, set->ranges[0].first - 1);
	}
	return water;
}

/*
 * What has appeared in gaps.  Whose holders are all gone before this look is
 * closed by it.  A row that a client has locked, to settle it, is left to the
 * client; its transaction is one of the holders.
 */
static void
look_at_gaps(MbDrain *drain, Found *found)
{
	Oid			types[] = {INT8ARRAYOID, INT8ARRAYOID};
	Datum		args[2];
	ListCell   *lc;
	int			n = 0;

	foreach(lc, drain->gaps)
		n += ((GapSet *) lfirst(lc))->nranges;
	if (n > 0)
	{
		int64	   *first = palloc(n * sizeof(int64));
		int64	   *last = palloc(n * sizeof(int64));

		n = 0;
		foreach(lc, drain->gaps)
		{
			GapSet	   *set = lfirst(lc);
			int			left = 0;

			for (int i = 0; i < set->nholders; i++)
				if (!VirtualXactLock(set->holders[i], false))
					set->holders[left++] = set->holders[i];
			set->nholders = left;
			if (left == 0)
			{
				MemoryContext old_context = MemoryContextSwitchTo(found->context);

				found->closed = lappend(found->closed, set);
				MemoryContextSwitchTo(old_context);
			}
			for (int i = 0; i < set->nranges; i++)
			{
				first[n] = set->ranges[i].first;
				last[n++] = set->ranges[i].last;
			}
		}
		args[0] = id_array(first, n);
		args[1] = id_array(last, n);
		run(PLAN_GAPS,
			"SELECT i.id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r (first, last)"
			" JOIN momento_billing.webhook_inbox AS i"
			" ON i.id OPERATOR(pg_catalog.>=) r.first AND i.id OPERATOR(pg_catalog.<=) r.last"
			" WHERE i.status OPERATOR(pg_catalog.=) 'pending' AND i.next_attempt_at IS NULL"
			" FOR UPDATE OF i SKIP LOCKED",
			2, types, args, SPI_OK_SELECT);
		for (uint64 i = 0; i < SPI_processed; i++)
			add_due(found, get_int64(i, 1));
		found->nseen += SPI_processed;
	}
}

/* Retries, and waiting events whose time has come. */
static void
look_at_due(Found *found)
{
	Oid			types[] = {INT8OID};
	Datum		args[] = {Int64GetDatum(found->limit)};

	run(PLAN_DUE,
		"SELECT id FROM momento_billing.webhook_inbox"
		" WHERE next_attempt_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() AND next_attempt_at IS NOT NULL"
		" AND status OPERATOR(pg_catalog.=) ANY ('{pending,waiting}') ORDER BY next_attempt_at LIMIT $1"
		" FOR UPDATE SKIP LOCKED",
		1, types, args, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
		add_due(found, get_int64(i, 1));
	found->nseen += SPI_processed;
}

/* What is behind the cursor, and what the cursor passes over. */
static void
look_at_new(MbDrain *drain, Found *found)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		args[] = {Int64GetDatum(drain->cursor), Int64GetDatum(found->limit)};
	Range	   *ranges;
	int			nranges = 0;

	run(PLAN_NEW,
		"SELECT id, status OPERATOR(pg_catalog.=) 'pending' AND next_attempt_at IS NULL"
		" FROM momento_billing.webhook_inbox WHERE id OPERATOR(pg_catalog.>) $1 ORDER BY id LIMIT $2",
		2, types, args, SPI_OK_SELECT);
	ranges = palloc(Max(SPI_processed, 1) * sizeof(Range));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64		id = get_int64(i, 1);
		bool		isnull;

		if (id > found->cursor + 1)
		{
			ranges[nranges].first = found->cursor + 1;
			ranges[nranges++].last = id - 1;
		}
		found->cursor = id;
		if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)))
			add_due(found, id);
	}
	found->nseen += SPI_processed;

	if (nranges > 0)
		found->gaps = make_gaps(drain, ranges, nranges);
}

/* Gaps with those who may fill them: whoever has the inbox open for writing. */
static GapSet *
make_gaps(MbDrain *drain, const Range *ranges, int nranges)
{
	MemoryContext old_context = MemoryContextSwitchTo(drain->context);
	GapSet	   *set = palloc0(sizeof(GapSet));
	LOCKTAG		tag;
	VirtualTransactionId *holders;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, mb_catalog_get()->inbox_relid);
	holders = GetLockConflicts(&tag, ShareLock, &set->nholders);
	set->holders = palloc(Max(set->nholders, 1) * sizeof(VirtualTransactionId));
	memcpy(set->holders, holders, set->nholders * sizeof(VirtualTransactionId));
	pfree(holders);
	set->ranges = palloc(nranges * sizeof(Range));
	memcpy(set->ranges, ranges, nranges * sizeof(Range));
	set->nranges = nranges;
	MemoryContextSwitchTo(old_context);
	return set;
}

static void
add_gaps(MbDrain *drain, GapSet *gaps)
{
	MemoryContext old_context = MemoryContextSwitchTo(drain->context);

	drain->gaps = lappend(drain->gaps, gaps);
	MemoryContextSwitchTo(old_context);
}

/* Grows by doubling. */
static void
add_due(Found *found, int64 id)
{
	if ((found->ndue & (found->ndue - 1)) == 0)
	{
		int			size = Max(found->ndue * 2, 1) * sizeof(int64);

		found->due = found->due == NULL ? MemoryContextAlloc(found->context, size) : repalloc(found->due, size);
	}
	found->due[found->ndue++] = id;
}

/* Everything found is settled: move on. */
static void
advance(MbDrain *drain, Found *found)
{
	MemoryContext old_context = MemoryContextSwitchTo(drain->context);
	ListCell   *lc;

	foreach(lc, found->closed)
	{
		GapSet	   *set = lfirst(lc);

		drain->gaps = list_delete_ptr(drain->gaps, set);
		pfree(set->ranges);
		pfree(set->holders);
		pfree(set);
	}
	if (found->gaps != NULL)
		add_gaps(drain, found->gaps);
	drain->cursor = found->cursor;
	MemoryContextSwitchTo(old_context);
}

/*
 * Settle these events, whatever it takes.  When a lock is in the way, try
 * again without those events that it concerns; any other failure is narrowed
 * down by halves.  False if another drainer has come in between.
 */
static bool
process(MbDrain *drain, const int64 *ids, int nids, MbCounts *counts)
{
	while (nids > 0)
	{
		Part		part = {.ids = ids,.nids = nids};
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		error = transact(drain, process_part, &part);

		/*
		 * In a client, a cancel or a lack of resources is the client's.  The
		 * worker narrows it down as any other error: an app's trigger can
		 * raise it for one event, which must not stop the others.
		 */
		if (error != NULL && !drain->own_transactions && mb_error_is_fatal(error))
			ReThrowError(error);
		if (error != NULL && mb_apply_is_conflict(error->sqlerrcode) && !drain->careful)
		{
			drain->careful = true;
			continue;
		}
		if (error == NULL)
		{
			if (!part.locked)
				return false;
			add_counts(counts, &part.counts);

			/*
			 * A client's locks stay until its transaction ends, so that a
			 * later part must not wait for anybody: it could close a circle.
			 */
			drain->careful = part.busy || !drain->own_transactions;
		}
		else if (nids > 1)
		{
			part.done = nids / 2;
			if (!process(drain, ids, part.done, counts))
				return false;
		}
		else
		{
			part.done = 1;
			fail(drain, ids[0], error, counts);
		}
		ids += part.done;
		nids -= part.done;
	}
	return true;
}

/* Step: apply these events, or as many as fit into memory. */
static void
process_part(MbDrain *drain, void *arg)
{
	Part	   *part = arg;
	MbInboxRow *rows;
	MbApplyEvent *events;
	int			nevents;

	part->locked = !drain->own_transactions || lock_state(drain);
	if (!part->locked)
		return;
	part->done = load(part->ids, part->nids, &rows, &events, &nevents);
	if (drain->careful)
		part->busy = mb_busy_find(events, nevents) > 0;

	/* a single event may wait for the app's table to take it */
	mb_apply_events(events, nevents, part->nids == 1);
	mb_drain_settle(rows, events, nevents, &part->counts);
}

/* Returns how many of the ids were taken; those settled meanwhile are left out. */
static int
load(const int64 *ids, int nids, MbInboxRow **rows, MbApplyEvent **events, int *nevents)
{
	Oid			types[] = {INT8ARRAYOID};
	Datum		args[] = {id_array(ids, nids)};
	const MbPlans *catalog = &mb_catalog_get()->plans;
	SPITupleTable *table;
	Size		bytes = 0;
	int			n = 0;
	int64		last = ids[nids - 1];

	run(PLAN_LOAD,
		"SELECT id, event_id, received_at, attempts, payload, status, waiting_for FROM momento_billing.webhook_inbox"
		" WHERE id OPERATOR(pg_catalog.=) ANY ($1) AND status OPERATOR(pg_catalog.=) ANY ('{pending,waiting}') ORDER BY id",
		1, types, args, SPI_OK_SELECT);
	table = SPI_tuptable;
	*rows = palloc(Max(SPI_processed, 1) * sizeof(MbInboxRow));
	*events = palloc0(Max(SPI_processed, 1) * sizeof(MbApplyEvent));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = table->vals[i];
		MbInboxRow *row = &(*rows)[n];
		Datum		payload;
		bool		isnull;

		payload = SPI_getbinval(tuple, table->tupdesc, 5, &isnull);
		if (isnull)
			continue;
		bytes += toast_raw_datum_size(payload);
		if (n > 0 && bytes > MAX_BATCH_BYTES)
		{
			last = row[-1].id;
			break;
		}
		row->id = DatumGetInt64(SPI_getbinval(tuple, table->tupdesc, 1, &isnull));
		row->event_id = mb_spi_get_text(tuple, table->tupdesc, 2);
		row->status = mb_spi_get_text(tuple, table->tupdesc, 6);
		row->waiting_for = mb_spi_get_text(tuple, table->tupdesc, 7);
		row->received_at = DatumGetTimestampTz(SPI_getbinval(tuple, table->tupdesc, 3, &isnull));
		row->attempts = DatumGetInt32(SPI_getbinval(tuple, table->tupdesc, 4, &isnull));
		mb_apply_read(DatumGetJsonbP(payload), catalog, &(*events)[n]);
		n++;
	}
	*nevents = n;

	n = 0;
	while (n < nids && ids[n] <= last)
		n++;
	return n;
}

/*
 * Record that an event failed, in a transaction of its own.  A lock in the
 * way is nobody's failure: the event is only put off.
 */
static void
fail(MbDrain *drain, int64 id, const ErrorData *error, MbCounts *counts)
{
	Failure		failure = {id, error, counts};
	ErrorData  *another = transact(drain, record_failure, &failure);

	if (another != NULL)
		ReThrowError(another);
}

/* Step. */
static void
record_failure(MbDrain *drain, void *arg)
{
	Failure    *failure = arg;
	Oid			types[] = {INT8OID};
	Datum		args[] = {Int64GetDatum(failure->id)};
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;
	Settlement	settlement = {
		.id = failure->id,
		.next_attempt_at = MB_NO_TIME,
		.error = mb_text(psprintf("%s: %s", unpack_sql_state(failure->error->sqlerrcode), failure->error->message)),
	};

	run(PLAN_FAILED,
		"SELECT attempts, status, waiting_for FROM momento_billing.webhook_inbox"
		" WHERE id OPERATOR(pg_catalog.=) $1 FOR UPDATE SKIP LOCKED",
		1, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
	{
		/*
		 * A client has taken the event over in a transaction that is still
		 * open, and that is the lock in the way: look again when it ends.
		 */
		Range		range = {failure->id, failure->id};

		add_gaps(drain, make_gaps(drain, &range, 1));
		return;
	}

	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	settlement.attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	settlement.status = mb_spi_get_text(tuple, desc, 2);
	settlement.waiting_for = mb_spi_get_text(tuple, desc, 3);
	if (!mb_apply_is_conflict(failure->error->sqlerrcode))
	{
		settlement.attempts++;
		settlement.reason = MB_TEXT_LITERAL("failed");
		failure->counts->failed++;
		copy_error(failure->counts, settlement.error);
	}
	if (settlement.attempts < mb_max_attempts)
		settlement.next_attempt_at = retry_at(settlement.attempts);
	else
	{
		settlement.status = MB_TEXT_LITERAL("dead");
		settlement.waiting_for = MB_NO_TEXT;
		failure->counts->dead++;
	}
	write_settlements(&settlement, 1);
}

static void
add_counts(MbCounts *counts, const MbCounts *more)
{
	counts->processed += more->processed;
	counts->ignored += more->ignored;
	counts->waiting += more->waiting;
	counts->dead += more->dead;
	counts->failed += more->failed;
	strlcpy(counts->last_event, more->last_event, sizeof(counts->last_event));
	if (more->last_error[0] != '\0')
		strlcpy(counts->last_error, more->last_error, sizeof(counts->last_error));
}

/* What an event's outcome means for its row. */
static Settlement
settle(const MbInboxRow *row, const MbApplyEvent *event, MbCounts *counts)
{
	Settlement	settlement = {
		.id = row->id,
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
			settlement.status = event->conflict ? MB_TEXT_LITERAL("dead") : MB_TEXT_LITERAL("ignored");
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

/* In the common case in place: no index is touched. */
static void
write_settlements(const Settlement *settlements, int count)
{
	Oid			processed_types[] = {INT8ARRAYOID};
	Oid			types[] = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID};
	Datum		args[7];
	Datum	   *processed = palloc(Max(count, 1) * sizeof(Datum));
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
			processed[nprocessed++] = Int64GetDatum(settlement->id);
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

	if (nprocessed > 0)
	{
		args[0] = mb_spi_array(processed, nprocessed, INT8OID);
		run(PLAN_SETTLE_PROCESSED,
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
		run(PLAN_SETTLE,
			"UPDATE momento_billing.webhook_inbox AS i"
			" SET status = n.status, reason = n.reason,"
			" next_attempt_at = CASE WHEN pg_catalog.isfinite(n.next_attempt_at) THEN n.next_attempt_at END,"
			" waiting_for = n.waiting_for,"
			" last_error = CASE WHEN n.last_error IS NULL THEN i.last_error ELSE n.last_error END,"
			" attempts = n.attempts,"
			" processed_at = CASE WHEN n.status OPERATOR(pg_catalog.=) ANY ('{processed,ignored,dead}')"
			" THEN pg_catalog.clock_timestamp() END"
			" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
			" pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7))"
			" AS n (id, status, reason, next_attempt_at, waiting_for, last_error, attempts)"
			" WHERE i.id OPERATOR(pg_catalog.=) n.id",
			7, types, args, SPI_OK_UPDATE);
	}
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

/* Execute a plan, prepared at its first use. */
static void
run(PlanId plan, const char *sql, int nargs, Oid *types, Datum *args, int expected)
{
	if (plans[plan] == NULL)
		plans[plan] = mb_spi_prepare(sql, nargs, types);
	mb_spi_execute(plans[plan], args, false, expected);
}

static Datum
id_array(const int64 *ids, int nids)
{
	Datum	   *elements = palloc(Max(nids, 1) * sizeof(Datum));

	for (int i = 0; i < nids; i++)
		elements[i] = Int64GetDatum(ids[i]);
	return mb_spi_array(elements, nids, INT8OID);
}

/* A bigint of the last result, from row 0 and column 1. */
static int64
get_int64(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}

static int
id_cmp(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return (x > y) - (x < y);
}
