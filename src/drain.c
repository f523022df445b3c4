/*
 * drain.c
 *	  Draining the inbox in batches.
 *
 * A batch is one transaction.  If it fails, it is halved until the event that
 * fails is alone; that one gets a retry with backoff, or is dead, and the
 * others go on.
 *
 * An event can also end the process that applies it.  So the worker that
 * follows one that may have died in a batch tries as many events as can have
 * been in it one by one, and writes down beforehand, in a transaction, which
 * one it is (drain_state.trying).  Its own successor counts that attempt.
 *
 * Memory: "mb drain" lives as long as the drain; "mb drain batch" below it is
 * reset with each batch.  A transaction's results are in its SPI connection.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "busy.h"
#include "catalog.h"
#include "cursor.h"
#include "drain.h"
#include "settings.h"
#include "settle.h"
#include "spi.h"
#include "subtransaction.h"
#include "upkeep.h"

/*
 * How long a careful drain waits for a lock, in ms: much less than
 * deadlock_timeout, also with all the parts that a batch is cut into, since
 * whoever waits for us may have begun long before.
 */
#define LOCK_TIMEOUT 10

/* Payloads held in memory at once; a batch is cut before it exceeds this. */
#define MAX_BATCH_BYTES (16 * 1024 * 1024)

struct MbDrain
{
	bool		own_transactions;
	MemoryContext context;
	MemoryContext batch_context;
	MbCursor   *cursor;
	bool		rereads;		/* are there more events to be made due? */
	bool		careful;		/* somebody's locks were in the way lately */
	MbDrainKind kind;
	bool		starts;			/* has not looked yet what its predecessor
								 * died of */
	int			suspects;		/* so many events are still tried one by one */
	bool		suspects_rows;	/* and so are users whose rows time has
								 * changed */
	int64		trying;			/* the event that was written down; 0: none */
};

/* What transact() runs. */
typedef struct Step
{
	MbDrain    *drain;
	void		(*step) (MbDrain *drain, void *arg);
	void	   *arg;
} Step;

/* What is found, and counted, by one look. */
typedef struct Look
{
	MbFound		found;
	MbCounts   *counts;
} Look;

typedef struct Attempt
{
	int64		id;
	bool		locked;			/* false: another drainer is at it */
} Attempt;

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

/* Users whose rows time has changed. */
typedef struct KeepUp
{
	char		after[MB_UPKEEP_USER];
	MbCounts   *counts;
	int			count;			/* of the last part */
} KeepUp;

typedef struct Failure
{
	int64		id;
	const ErrorData *error;
	MbCounts   *counts;
} Failure;

static ErrorData *transact(MbDrain *drain, void (*step) (MbDrain *drain, void *arg), void *arg);
static void run_step(void *arg);
static void begin(MbDrain *drain, MbCounts *counts);
static void look(MbDrain *drain, void *arg);
static void keep_up(MbDrain *drain, void *arg);
static void put_off(MbDrain *drain, void *arg);
static void keep_up_one(MbDrain *drain, void *arg);
static bool process_singly(MbDrain *drain, const int64 *ids, int nids, MbCounts *counts);
static void begin_trial(MbDrain *drain, void *arg);
static void end_trial(MbDrain *drain);
static void commit_locally(void);
static void interrupt_trial(MbDrain *drain, void *arg);
static bool process(MbDrain *drain, const int64 *ids, int nids, MbCounts *counts);
static void process_part(MbDrain *drain, void *arg);
static int	load(const int64 *ids, int nids, MbInboxRow **rows, MbApplyEvent **events, int *nevents);
static void fail(MbDrain *drain, int64 id, const ErrorData *error, MbCounts *counts);
static void record_failure(MbDrain *drain, void *arg);
static void add_counts(MbCounts *counts, const MbCounts *more);

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
	drain = mb_drain_create(MB_DRAIN_CLIENT);
	while (total < max_events &&
		   (n = mb_drain_batch(drain, Min(mb_batch_size, max_events - total), &counts)) > 0)
		total = counts.processed + counts.ignored + counts.waiting + counts.dead + counts.failed;
	MemoryContextDelete(drain->context);
	PG_RETURN_INT64(counts.processed + counts.ignored + counts.waiting + counts.dead);
}

MbDrain *
mb_drain_create(MbDrainKind kind)
{
	MemoryContext old_context = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old_context, "mb drain", ALLOCSET_DEFAULT_SIZES);
	MbDrain    *drain = MemoryContextAllocZero(context, sizeof(MbDrain));

	drain->kind = kind;
	drain->own_transactions = kind != MB_DRAIN_CLIENT;

	/*
	 * A client's locks stay until its transaction ends, so its drain must not
	 * wait for anybody: it could close a circle.
	 */
	drain->careful = kind == MB_DRAIN_CLIENT;
	drain->starts = drain->own_transactions;

	/* a batch's worth of new events, one of retries and one from gaps */
	drain->suspects_rows = kind == MB_DRAIN_AFTER_START || kind == MB_DRAIN_AFTER_END;
	drain->suspects = drain->suspects_rows ? 3 * mb_batch_size : 0;
	drain->context = context;
	drain->batch_context = AllocSetContextCreate(context, "mb drain batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	drain->cursor = mb_cursor_create(!drain->own_transactions);
	MemoryContextSwitchTo(old_context);
	return drain;
}

int
mb_drain_batch(MbDrain *drain, int limit, MbCounts *counts)
{
	MemoryContext old_context = MemoryContextSwitchTo(drain->batch_context);
	Look		full = {.found = {.context = drain->batch_context,.limit = limit},.counts = counts};
	MbFound    *found = &full.found;
	ErrorData  *error;
	int			nseen = 0;
	bool		done;

	/* now, because the last batch may have ended with an error */
	MemoryContextReset(drain->batch_context);
	error = transact(drain, look, &full);
	if (error != NULL)
		ReThrowError(error);

	/* Without the lock at any moment nothing was settled: do not move on. */
	done = found->locked && process_singly(drain, found->crashed, found->ncrashed, counts);
	if (done && drain->suspects > 0)
		done = process_singly(drain, found->due, found->ndue, counts);
	else if (done)
		done = process(drain, found->due, found->ndue, counts);
	if (done)
	{
		mb_cursor_advance(drain->cursor, found);
		if (drain->own_transactions)
			mb_stats_set_position(found->position);
		drain->suspects = found->nseen == 0 ? 0 : Max(drain->suspects - found->ndue, 0);
		nseen = found->nseen;
		if (nseen == 0 && drain->rereads)
			nseen = 1;
	}
	if (nseen == 0)
	{
		KeepUp		rows = {.counts = counts};

		do
		{
			CHECK_FOR_INTERRUPTS();
			rows.count = 0;
			error = transact(drain, drain->suspects_rows ? put_off : keep_up, &rows);
			if (error == NULL && drain->suspects_rows && rows.count > 0)
				error = transact(drain, keep_up_one, &rows);
			if (error != NULL && !mb_apply_is_conflict(error->sqlerrcode))
				ReThrowError(error);
		} while (rows.count > 0);
		drain->suspects_rows = false;
	}
	MemoryContextSwitchTo(old_context);
	return nseen;
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

/* Step: what is due, also because prices have changed? */
static void
look(MbDrain *drain, void *arg)
{
	Look	   *full = arg;
	bool		locked = mb_cursor_lock(drain->cursor);

	if (locked && drain->starts)
		begin(drain, full->counts);
	drain->rereads = locked && mb_upkeep_prices();
	mb_cursor_look(drain->cursor, &full->found);
}

/* Count the attempt that the predecessor died of, if it did. */
static void
begin(MbDrain *drain, MbCounts *counts)
{
	int64		id = mb_cursor_trying();
	bool		in_order = id < 0;

	/* the server was shut down, or the event could not even be tried */
	if (id != 0 && drain->kind != MB_DRAIN_WORKER && !(in_order && drain->kind == MB_DRAIN_AFTER_START))
		mb_settle_end(in_order ? -id : id, !in_order, counts);
	if (id != 0)
		mb_cursor_set_trying(0);
	drain->starts = false;
}

/* Step: what has time changed? */
static void
keep_up(MbDrain *drain, void *arg)
{
	KeepUp	   *rows = arg;

	rows->count = mb_upkeep_rows(rows->after, rows->counts);
}

/*
 * Steps, where the last process may have died of a user's row: the user is put
 * off, so that the next one does not die of it at once, and then tried.
 */
static void
put_off(MbDrain *drain, void *arg)
{
	KeepUp	   *rows = arg;

	rows->count = mb_upkeep_put_off(rows->after) ? 1 : 0;
}

static void
keep_up_one(MbDrain *drain, void *arg)
{
	KeepUp	   *rows = arg;

	mb_upkeep_row(rows->after, rows->counts);
}

/* At exit nobody could end the wait for a standby; and who crashes is here. */
static void
commit_locally(void)
{
	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* One after the other; the worker writes down which one it is at. */
static bool
process_singly(MbDrain *drain, const int64 *ids, int nids, MbCounts *counts)
{
	for (int i = 0; i < nids; i++)
	{
		if (drain->own_transactions)
		{
			Attempt		attempt = {.id = ids[i]};
			ErrorData  *error = transact(drain, begin_trial, &attempt);

			if (error != NULL)
				ReThrowError(error);
			if (!attempt.locked)
				return false;
			drain->trying = ids[i];
		}
		if (!process(drain, &ids[i], 1, counts))
			return false;
		drain->trying = 0;
	}
	return true;
}

/* Step. */
static void
begin_trial(MbDrain *drain, void *arg)
{
	Attempt    *attempt = arg;

	commit_locally();
	attempt->locked = mb_cursor_lock(drain->cursor);
	if (attempt->locked)
		mb_cursor_set_trying(attempt->id);
}

/* In the transaction that records how it went. */
static void
end_trial(MbDrain *drain)
{
	if (drain->trying != 0)
		mb_cursor_set_trying(0);
}

/* As a temporary table's removal at exit, in a transaction of its own. */
void
mb_drain_interrupted(MbDrain *drain)
{
	if (drain->trying != 0)
		(void) transact(drain, interrupt_trial, NULL);
}

/* Step. */
static void
interrupt_trial(MbDrain *drain, void *arg)
{
	commit_locally();
	if (mb_cursor_lock(drain->cursor) && mb_cursor_trying() == drain->trying)
		mb_cursor_set_trying(-drain->trying);
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
	int			nest_level = 0;

	part->locked = !drain->own_transactions || mb_cursor_lock(drain->cursor);
	if (!part->locked)
		return;
	end_trial(drain);

	/*
	 * What another transaction is only inserting cannot be seen to be busy,
	 * and must not be waited for with locks in hand that were taken before
	 * their turn.
	 */
	if (drain->careful && (LockTimeout == 0 || LockTimeout > LOCK_TIMEOUT))
	{
		nest_level = NewGUCNestLevel();
		(void) set_config_option("lock_timeout", CppAsString2(LOCK_TIMEOUT), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	part->done = load(part->ids, part->nids, &rows, &events, &nevents);
	if (drain->careful)
		part->busy = mb_busy_find(events, nevents) > 0;

	/* a single event may wait for the app's table to take it */
	mb_apply_events(events, nevents, part->nids == 1, !drain->careful, drain->careful);
	mb_settle_events(rows, events, nevents, &part->counts);
	if (nest_level > 0)
		AtEOXact_GUC(true, nest_level);
}

/* Returns how many of the ids were taken; those settled meanwhile are left out. */
static int
load(const int64 *ids, int nids, MbInboxRow **rows, MbApplyEvent **events, int *nevents)
{
	Oid			types[] = {INT8ARRAYOID};
	Datum		args[1];
	Datum	   *elements = palloc(Max(nids, 1) * sizeof(Datum));
	static SPIPlanPtr plan = NULL;
	const MbPlans *catalog = &mb_catalog_get()->plans;
	SPITupleTable *table;
	Size		bytes = 0;
	int			n = 0;
	int64		last = ids[nids - 1];

	for (int i = 0; i < nids; i++)
		elements[i] = Int64GetDatum(ids[i]);
	args[0] = mb_spi_array(elements, nids, INT8OID);
	mb_spi_run(&plan,
			   "SELECT id, event_id, received_at, attempts, payload, status, waiting_for, processed_at, reason, ctid FROM momento_billing.webhook_inbox"
			   " WHERE id OPERATOR(pg_catalog.=) ANY ($1) AND status OPERATOR(pg_catalog.=) ANY ('{pending,waiting}') ORDER BY id",
			   1, types, args, SPI_OK_SELECT);
	table = SPI_tuptable;
	*rows = palloc(Max(SPI_processed, 1) * sizeof(MbInboxRow));
	*events = palloc0(Max(SPI_processed, 1) * sizeof(MbApplyEvent));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MbInboxRow *row = &(*rows)[n];
		Datum		values[10];
		bool		nulls[10];

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		if (!nulls[4])
			bytes += toast_raw_datum_size(values[4]);
		if (n > 0 && bytes > MAX_BATCH_BYTES)
		{
			last = row[-1].id;
			break;
		}
		row->id = DatumGetInt64(values[0]);
		row->event_id = mb_spi_text(values[1], nulls[1]);
		row->received_at = DatumGetTimestampTz(values[2]);
		row->attempts = DatumGetInt32(values[3]);
		row->status = mb_spi_text(values[5], nulls[5]);
		row->waiting_for = mb_spi_text(values[6], nulls[6]);
		row->reread = !nulls[7];
		row->crashed = mb_text_is(mb_spi_text(values[8], nulls[8]), "crashed");
		row->was_conflict = row->reread && mb_text_is(mb_spi_text(values[8], nulls[8]), "link_conflict");
		row->place = *(ItemPointer) DatumGetPointer(values[9]);
		if (!nulls[4])
			mb_apply_read(DatumGetJsonbP(values[4]), catalog, &(*events)[n]);
		else
		{
			(*events)[n].event.kind = MB_EVENT_IGNORED;
			(*events)[n].event.reason = "no_payload";
		}
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

	end_trial(drain);

	/*
	 * A client has taken the event over in a transaction that is still open,
	 * and that is the lock in the way: look again when it ends.
	 */
	if (!mb_settle_failure(failure->id, failure->error, failure->counts))
		mb_cursor_add_gap(drain->cursor, failure->id);
}

static void
add_counts(MbCounts *counts, const MbCounts *more)
{
	counts->processed += more->processed;
	counts->ignored += more->ignored;
	counts->waiting += more->waiting;
	counts->dead += more->dead;
	counts->failed += more->failed;
	if (more->last_event[0] != '\0')
		strlcpy(counts->last_event, more->last_event, sizeof(counts->last_event));
	if (more->last_error[0] != '\0')
		strlcpy(counts->last_error, more->last_error, sizeof(counts->last_error));
}
