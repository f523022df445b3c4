/*
 * probe.c
 *	  Direct index look-ups for the hot reads.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "probe.h"

static void open_scan(MbProbeScan *scan, const MbProbe *probe, Relation rel);
static void seek(MbProbeScan *scan, const MbProbe *probe, const Datum *values);
static bool lock_row(const MbProbe *probe, Relation rel, Datum key, AttrNumber column, TupleTableSlot *slot);
static bool index_fits(Relation index, const AttrNumber *columns, int ncolumns, bool unique, Oid partial);

bool
mb_probe_init(MbProbe *probe, Relation rel, const AttrNumber *columns, int ncolumns, bool unique, Oid partial)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		found = false;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found = index_fits(index, columns, ncolumns, unique, partial);
		if (found)
		{
			probe->indexid = RelationGetRelid(index);
			probe->check_xmin = index->rd_index->indcheckxmin ?
				HeapTupleHeaderGetXmin(index->rd_indextuple->t_data) : InvalidTransactionId;
			probe->nkeys = ncolumns;
			for (int i = 0; i < ncolumns; i++)
			{
				Oid			type = index->rd_opcintype[i];
				Oid			equal = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

				ScanKeyEntryInitialize(&probe->keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
									   index->rd_indcollation[i], get_opcode(equal), (Datum) 0);
			}
		}
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

bool
mb_probe_usable(const MbProbe *probe)
{
	return !TransactionIdIsValid(probe->check_xmin) || TransactionIdPrecedes(probe->check_xmin, TransactionXmin);
}

MbProbeRow *
mb_probe_rows(const MbProbe *probe, Relation rel, const Datum *keys, int nkeys, bool lock, int *count)
{
	int			size = Max(nkeys, 1);
	MbProbeRow *rows = palloc(size * sizeof(MbProbeRow));
	MbProbeScan scan;

	if (lock)
		PreventCommandIfReadOnly("SELECT FOR NO KEY UPDATE");
	*count = 0;
	open_scan(&scan, probe, rel);
	for (int i = 0; i < nkeys; i++)
	{
		ItemPointer tid;

		CHECK_FOR_INTERRUPTS();
		seek(&scan, probe, &keys[i]);
		while ((tid = index_getnext_tid(scan.scan, ForwardScanDirection)) != NULL)
		{
			ItemPointerData root = *tid;

			/* of the versions in a chain a snapshot sees one */
			if (!index_fetch_heap(scan.scan, scan.slot) ||
				(lock && !lock_row(probe, rel, keys[i], scan.index->rd_index->indkey.values[0], scan.slot)))
				continue;
			if (*count == size)
				rows = repalloc(rows, (size *= 2) * sizeof(MbProbeRow));
			rows[*count].root = root;
			rows[(*count)++].tuple = ExecCopySlotHeapTuple(scan.slot);
		}
	}
	mb_probe_end(&scan);
	return rows;
}

void
mb_probe_only(const MbProbe *probe, Relation rel, const Datum *keys, const ItemPointerData *roots, int nkeys, bool *only)
{
	MbProbeScan scan;

	open_scan(&scan, probe, rel);
	for (int i = 0; i < nkeys; i++)
	{
		ItemPointer tid;

		seek(&scan, probe, &keys[i]);
		tid = index_getnext_tid(scan.scan, ForwardScanDirection);
		only[i] = tid != NULL && ItemPointerEquals(tid, (ItemPointer) &roots[i]) &&
			index_getnext_tid(scan.scan, ForwardScanDirection) == NULL;
	}
	mb_probe_end(&scan);
}

void
mb_probe_begin(MbProbeScan *scan, const MbProbe *probe, Relation rel, const Datum *values)
{
	open_scan(scan, probe, rel);
	seek(scan, probe, values);
}

TupleTableSlot *
mb_probe_next(MbProbeScan *scan)
{
	return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot) ? scan->slot : NULL;
}

void
mb_probe_end(MbProbeScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	/* kept to the transaction's end, as the executor does */
	index_close(scan->index, NoLock);
}

static void
open_scan(MbProbeScan *scan, const MbProbe *probe, Relation rel)
{
	scan->index = index_open(probe->indexid, AccessShareLock);
	scan->slot = table_slot_create(rel, NULL);
	scan->scan = mb_index_beginscan(rel, scan->index, GetActiveSnapshot(), probe->nkeys);
}

static void
seek(MbProbeScan *scan, const MbProbe *probe, const Datum *values)
{
	ScanKeyData keys[MB_PROBE_MAX_KEYS];

	for (int i = 0; i < probe->nkeys; i++)
	{
		keys[i] = probe->keys[i];
		keys[i].sk_argument = values[i];
	}
	index_rescan(scan->scan, keys, probe->nkeys, NULL, 0);
}

/*
 * Lock the row in the slot, which then holds its newest version.  False if
 * the row has gone, or its key has changed, while its lock was waited for.
 */
static bool
lock_row(const MbProbe *probe, Relation rel, Datum key, AttrNumber column, TupleTableSlot *slot)
{
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData failure;
	bool		isnull;
	Datum		value;

	switch (table_tuple_lock(rel, &tid, GetActiveSnapshot(), slot, GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							 LockWaitBlock, IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure))
	{
		case TM_Ok:
			if (!failure.traversed)
				return true;
			value = slot_getattr(slot, column, &isnull);
			return !isnull &&
				DatumGetBool(FunctionCall2Coll((FmgrInfo *) &probe->keys[0].sk_func, probe->keys[0].sk_collation, value, key));
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("could not serialize access due to concurrent update")));
			return false;
		default:
			/* this transaction itself has just changed it, in a trigger */
			return false;
	}
}

static bool
index_fits(Relation index, const AttrNumber *columns, int ncolumns, bool unique, Oid partial)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisvalid ||
		form->indnkeyatts < ncolumns ||
		(OidIsValid(partial) ? RelationGetRelid(index) != partial :
		 !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL)))
		return false;
	if (unique && (form->indnkeyatts != ncolumns || !form->indisunique || !form->indimmediate))
		return false;
	for (int i = 0; i < ncolumns; i++)
		if (form->indkey.values[i] != columns[i])
			return false;
	return true;
}
