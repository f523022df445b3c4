/*
 * cursor.c
 *	  Where a drain is in the inbox, and what is due there.
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
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "catalog.h"
#include "cursor.h"
#include "locks.h"
#include "spi.h"

typedef struct Range
{
	int64		first;
	int64		last;
} Range;

/*
 * The worker stores low_water when it has moved so far, or after so long: while
 * a snapshot is open that is older than the versions of the state's row, all of
 * them stay, and each look passes over them.
 */
#define STORE_DISTANCE 10000
#define STORE_INTERVAL (60 * 1000)	/* ms */

/* Gaps that one look at the inbox found. */
struct MbGapSet
{
	Range	   *ranges;
	int			nranges;
	int64		first;			/* of all of them */
	VirtualTransactionId *holders;	/* who may still fill them */
	int			nholders;
	bool		may_be_filled;	/* one of them has ended, or there was none,
								 * since the last advance */
};

struct MbCursor
{
	bool		waits;			/* for another drainer to end? */
	TimestampTz began;
	MemoryContext context;		/* of the gaps */
	pg_uuid_t	incarnation;	/* of drain_state, as last seen */
	int64		stored;			/* low_water, as last seen or stored */
	TimestampTz stored_at;
	int64		position;		/* every id up to it is settled or a gap */
	List	   *gaps;			/* of MbGapSet, oldest first */
};

typedef enum PlanId
{
	PLAN_STATE,
	PLAN_ADD_STATE,
	PLAN_SAVE_STATE,
	PLAN_TRYING,
	PLAN_SET_TRYING,
	PLAN_GAPS,
	PLAN_DUE,
	PLAN_NEW,
	NUM_PLANS
} PlanId;

static SPIPlanPtr plans[NUM_PLANS];

static int64 low_water(const MbCursor *cursor);
static void look_at_gaps(MbCursor *cursor, MbFound *found);
static void look_at_due(const MbCursor *cursor, MbFound *found);
static void look_at_new(MbCursor *cursor, MbFound *found);
static MbGapSet *make_gaps(MbCursor *cursor, const Range *ranges, int nranges, LOCKMODE conflict);
static void add_gaps(List **gaps, MbGapSet *set);
static MbGapSet *gaps_behind(const MbGapSet *set, int64 end);
static void free_gaps(MbGapSet *set);
static void add_id(int64 **ids, int *nids, int64 id, MemoryContext context);
static Datum id_array(const int64 *ids, int nids);
static int64 get_int64(uint64 row, int column);
static int	id_cmp(const void *a, const void *b);

MbCursor *
mb_cursor_create(bool waits)
{
	MbCursor   *cursor = palloc0(sizeof(MbCursor));

	cursor->context = CurrentMemoryContext;
	cursor->waits = waits;
	cursor->began = GetCurrentTimestamp();
	return cursor;
}

bool
mb_cursor_lock(MbCursor *cursor)
{
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;
	int64		stored;
	pg_uuid_t  *incarnation;

	/* not the state's row, which would cost a transaction id at each look */
	if (!mb_lock(MB_LOCK_DRAIN, 0, ExclusiveLock, cursor->waits))
		return false;
	for (;;)
	{
		mb_spi_run(&plans[PLAN_STATE], "SELECT low_water, incarnation FROM momento_billing.drain_state", 0, NULL, NULL, SPI_OK_SELECT);
		if (SPI_processed == 1)
			break;

		/* No row: the first drain ever, or the first after a TRUNCATE. */
		mb_spi_run(&plans[PLAN_ADD_STATE], "INSERT INTO momento_billing.drain_state (low_water) VALUES (0) ON CONFLICT DO NOTHING",
				   0, NULL, NULL, SPI_OK_INSERT);
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
	if (memcmp(incarnation, &cursor->incarnation, sizeof(pg_uuid_t)) != 0 || stored < cursor->stored)
	{
		cursor->incarnation = *incarnation;
		cursor->position = 0;
		cursor->gaps = NIL;
	}
	cursor->stored = stored;
	cursor->position = Max(cursor->position, stored);
	return true;
}

void
mb_cursor_look(MbCursor *cursor, MbFound *found)
{
	int64		water;
	int			n = 0;

	found->locked = mb_cursor_lock(cursor);
	if (!found->locked)
		return;
	found->position = cursor->position;
	water = low_water(cursor);
	if (water > cursor->stored && !IsolationUsesXactSnapshot() &&
		(cursor->waits || water - cursor->stored >= STORE_DISTANCE ||
		 TimestampDifferenceExceeds(cursor->stored_at, GetCurrentTimestamp(), STORE_INTERVAL)))
	{
		Oid			types[] = {INT8OID};
		Datum		args[] = {Int64GetDatum(water)};

		mb_spi_run(&plans[PLAN_SAVE_STATE], "UPDATE momento_billing.drain_state SET low_water = $1", 1, types, args, SPI_OK_UPDATE);
		cursor->stored = water;
		cursor->stored_at = GetCurrentTimestamp();
	}

	look_at_gaps(cursor, found);
	look_at_due(cursor, found);
	look_at_new(cursor, found);

	qsort(found->due, found->ndue, sizeof(int64), id_cmp);
	for (int i = 0; i < found->ndue; i++)
		if (n == 0 || found->due[n - 1] != found->due[i])
			found->due[n++] = found->due[i];
	found->ndue = n;
}

void
mb_cursor_advance(MbCursor *cursor, MbFound *found)
{
	MemoryContext old_context = MemoryContextSwitchTo(cursor->context);
	List	   *kept = NIL;
	ListCell   *lc;

	/* sets stay few, however long somebody sits in a transaction */
	foreach(lc, cursor->gaps)
	{
		MbGapSet   *set = lfirst(lc);
		MbGapSet   *rest = set->may_be_filled ? gaps_behind(set, found->gaps_end) : NULL;

		if (set->may_be_filled && set->nholders == 0)
			free_gaps(set);
		else
		{
			set->may_be_filled = false;
			add_gaps(&kept, set);
		}
		if (rest != NULL)
			add_gaps(&kept, rest);
	}
	list_free(cursor->gaps);
	cursor->gaps = kept;
	if (found->gaps != NULL)
		add_gaps(&cursor->gaps, found->gaps);
	cursor->position = found->position;
	MemoryContextSwitchTo(old_context);
}

int64
mb_cursor_trying(void)
{
	mb_spi_run(&plans[PLAN_TRYING], "SELECT trying FROM momento_billing.drain_state WHERE trying IS NOT NULL",
			   0, NULL, NULL, SPI_OK_SELECT);
	return SPI_processed == 0 ? 0 : get_int64(0, 1);
}

void
mb_cursor_set_trying(int64 id)
{
	Oid			types[] = {INT8OID};
	Datum		args[] = {Int64GetDatum(id)};

	mb_spi_run(&plans[PLAN_SET_TRYING],
			   "UPDATE momento_billing.drain_state SET trying = CASE WHEN $1 OPERATOR(pg_catalog.<>) 0 THEN $1 END",
			   1, types, args, SPI_OK_UPDATE);
}

void
mb_cursor_add_gap(MbCursor *cursor, int64 id)
{
	MemoryContext old_context = MemoryContextSwitchTo(cursor->context);
	Range		range = {id, id};

	/* who has locked its row may hold RowShareLock only */
	add_gaps(&cursor->gaps, make_gaps(cursor, &range, 1, ExclusiveLock));
	MemoryContextSwitchTo(old_context);
}

static int64
low_water(const MbCursor *cursor)
{
	int64		water = cursor->position;
	ListCell   *lc;

	foreach(lc, cursor->gaps)
	{
		MbGapSet   *set = lfirst(lc);

		water = Min(water, set->first - 1);
	}
	return water;
}

/*
 * What has appeared in gaps: only where one of the holders has ended can
 * anything have.  Whose holders are all gone before this look is closed by it.
 */
static void
look_at_gaps(MbCursor *cursor, MbFound *found)
{
	Oid			types[] = {INT8ARRAYOID, INT8ARRAYOID, INT8OID};
	Datum		args[3];
	ListCell   *lc;
	int			n = 0;

	found->gaps_end = PG_INT64_MAX;
	foreach(lc, cursor->gaps)
	{
		MbGapSet   *set = lfirst(lc);
		int			left = 0;

		for (int i = 0; i < set->nholders; i++)
			if (!VirtualXactLock(set->holders[i], false))
				set->holders[left++] = set->holders[i];
		set->may_be_filled |= left < set->nholders || left == 0;
		set->nholders = left;
		if (set->may_be_filled)
			n += set->nranges;
	}
	if (n > 0)
	{
		int64	   *first = palloc(n * sizeof(int64));
		int64	   *last = palloc(n * sizeof(int64));

		n = 0;
		foreach(lc, cursor->gaps)
		{
			MbGapSet   *set = lfirst(lc);

			for (int i = 0; set->may_be_filled && i < set->nranges; i++)
			{
				first[n] = set->ranges[i].first;
				last[n++] = set->ranges[i].last;
			}
		}
		args[0] = id_array(first, n);
		args[1] = id_array(last, n);
		args[2] = Int64GetDatum(found->limit);

		/*
		 * ordered, so that nothing but the key can be scanned, a range at a
		 * time
		 */
		mb_spi_run(&plans[PLAN_GAPS],
				   "SELECT i.id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r (first, last)"
				   " CROSS JOIN LATERAL (SELECT g.id FROM momento_billing.webhook_inbox AS g"
				   " WHERE g.id OPERATOR(pg_catalog.>=) r.first AND g.id OPERATOR(pg_catalog.<=) r.last"
				   " AND g.status OPERATOR(pg_catalog.=) 'pending' AND g.next_attempt_at IS NULL"
				   " ORDER BY g.id LIMIT $3) AS i ORDER BY i.id LIMIT $3",
				   3, types, args, SPI_OK_SELECT);
		if (SPI_processed >= (uint64) found->limit)
			found->gaps_end = get_int64(SPI_processed - 1, 1);
		for (uint64 i = 0; i < SPI_processed; i++)
			add_id(&found->due, &found->ndue, get_int64(i, 1), found->context);
		found->nseen += SPI_processed;
	}
}

/*
 * Retries, and waiting events whose time has come.  A client's drain takes
 * what was due when it began: an event that it has put off is locked by it,
 * and whoever is in the way may be waiting for that.
 */
static void
look_at_due(const MbCursor *cursor, MbFound *found)
{
	Oid			types[] = {INT8OID, TIMESTAMPTZOID};
	Datum		args[] = {Int64GetDatum(found->limit), TimestampTzGetDatum(cursor->waits ? cursor->began : GetCurrentTimestamp())};

	mb_spi_run(&plans[PLAN_DUE],
			   "SELECT id, reason IS NOT NULL AND reason OPERATOR(pg_catalog.=) 'crashed' FROM momento_billing.webhook_inbox"
			   " WHERE next_attempt_at OPERATOR(pg_catalog.<=) $2 AND next_attempt_at IS NOT NULL"
			   " AND status OPERATOR(pg_catalog.=) ANY ('{pending,waiting}') ORDER BY next_attempt_at LIMIT $1"
			   " FOR UPDATE SKIP LOCKED",
			   2, types, args, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)))
			add_id(&found->crashed, &found->ncrashed, get_int64(i, 1), found->context);
		else
			add_id(&found->due, &found->ndue, get_int64(i, 1), found->context);
	}
	found->nseen += SPI_processed;
}

/* What is behind the cursor, and what the cursor passes over. */
static void
look_at_new(MbCursor *cursor, MbFound *found)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		args[] = {Int64GetDatum(cursor->position), Int64GetDatum(found->limit)};
	Range	   *ranges;
	int			nranges = 0;

	/* a client has said how many it wants, of all kinds */
	if (cursor->waits)
		args[1] = Int64GetDatum(Max(found->limit - found->ndue - found->ncrashed, 0));
	mb_spi_run(&plans[PLAN_NEW],
			   "SELECT id, status OPERATOR(pg_catalog.=) 'pending' AND next_attempt_at IS NULL"
			   " FROM momento_billing.webhook_inbox WHERE id OPERATOR(pg_catalog.>) $1 ORDER BY id LIMIT $2",
			   2, types, args, SPI_OK_SELECT);
	ranges = palloc(Max(SPI_processed, 1) * sizeof(Range));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64		id = get_int64(i, 1);
		bool		isnull;

		if (id > found->position + 1)
		{
			ranges[nranges].first = found->position + 1;
			ranges[nranges++].last = id - 1;
		}
		found->position = id;
		if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)))
			add_id(&found->due, &found->ndue, id, found->context);
	}
	found->nseen += SPI_processed;

	if (nranges > 0)
		found->gaps = make_gaps(cursor, ranges, nranges, ShareLock);
}

/* Gaps with those who may fill them: who has the inbox open in a way that conflicts. */
static MbGapSet *
make_gaps(MbCursor *cursor, const Range *ranges, int nranges, LOCKMODE conflict)
{
	MemoryContext old_context = MemoryContextSwitchTo(cursor->context);
	MbGapSet   *set = palloc0(sizeof(MbGapSet));
	LOCKTAG		tag;
	VirtualTransactionId *holders;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, mb_catalog_get()->inbox_relid);
	holders = GetLockConflicts(&tag, conflict, &set->nholders);
	set->holders = palloc(Max(set->nholders, 1) * sizeof(VirtualTransactionId));
	memcpy(set->holders, holders, set->nholders * sizeof(VirtualTransactionId));
	pfree(holders);
	set->ranges = palloc(nranges * sizeof(Range));
	memcpy(set->ranges, ranges, nranges * sizeof(Range));
	set->nranges = nranges;
	set->first = ranges[0].first;
	MemoryContextSwitchTo(old_context);
	return set;
}

/* Add a set to a list, or to the last set there if it waits for the same. */
static void
add_gaps(List **gaps, MbGapSet *set)
{
	MbGapSet   *last = *gaps == NIL ? NULL : llast(*gaps);

	if (last == NULL || last->nholders != set->nholders || last->may_be_filled ||
		memcmp(last->holders, set->holders, set->nholders * sizeof(VirtualTransactionId)) != 0)
	{
		*gaps = lappend(*gaps, set);
		return;
	}
	last->ranges = repalloc(last->ranges, (last->nranges + set->nranges) * sizeof(Range));
	memcpy(last->ranges + last->nranges, set->ranges, set->nranges * sizeof(Range));
	last->nranges += set->nranges;
	last->first = Min(last->first, set->first);
	free_gaps(set);
}

/* What a look at a set has left out, to be looked at next; NULL if nothing. */
static MbGapSet *
gaps_behind(const MbGapSet *set, int64 end)
{
	MbGapSet   *rest;

	if (end == PG_INT64_MAX)
		return NULL;
	rest = palloc0(sizeof(MbGapSet));
	rest->ranges = palloc(set->nranges * sizeof(Range));
	rest->holders = palloc(sizeof(VirtualTransactionId));
	rest->first = PG_INT64_MAX;
	for (int i = 0; i < set->nranges; i++)
	{
		Range		range = {Max(set->ranges[i].first, end + 1), set->ranges[i].last};

		if (range.first > range.last)
			continue;
		rest->ranges[rest->nranges++] = range;
		rest->first = Min(rest->first, range.first);
	}
	if (rest->nranges > 0)
		return rest;
	free_gaps(rest);
	return NULL;
}

static void
free_gaps(MbGapSet *set)
{
	pfree(set->ranges);
	pfree(set->holders);
	pfree(set);
}

/* Grows by doubling. */
static void
add_id(int64 **ids, int *nids, int64 id, MemoryContext context)
{
	if ((*nids & (*nids - 1)) == 0)
	{
		int			size = Max(*nids * 2, 1) * sizeof(int64);

		*ids = *ids == NULL ? MemoryContextAlloc(context, size) : repalloc(*ids, size);
	}
	(*ids)[(*nids)++] = id;
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
