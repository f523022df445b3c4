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
#include "catalog/pg_am.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "probe.h"

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

void
mb_probe_begin(MbProbeScan *scan, const MbProbe *probe, Relation rel, const Datum *values)
{
	ScanKeyData keys[MB_PROBE_MAX_KEYS];

	for (int i = 0; i < probe->nkeys; i++)
	{
		keys[i] = probe->keys[i];
		keys[i].sk_argument = values[i];
	}
	scan->index = index_open(probe->indexid, AccessShareLock);
	scan->slot = table_slot_create(rel, NULL);
	scan->scan = mb_index_beginscan(rel, scan->index, GetActiveSnapshot(), probe->nkeys);
	index_rescan(scan->scan, keys, probe->nkeys, NULL, 0);
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
