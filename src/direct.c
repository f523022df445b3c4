/*
 * direct.c
 *	  Updating rows of our own tables without the executor, which costs more
 *	  than the update itself.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "direct.h"

bool
mb_direct_is_possible(Relation rel)
{
	const TupleConstr *constr = RelationGetDescr(rel)->constr;

	return rel->trigdesc == NULL && (constr == NULL || (constr->num_check == 0 && !constr->has_generated_stored));
}

void
mb_direct_begin(MbDirect *direct, Relation rel)
{
	PreventCommandIfReadOnly("UPDATE");
	direct->rel = rel;
	direct->estate = CreateExecutorState();
	direct->info = makeNode(ResultRelInfo);
	InitResultRelInfo(direct->info, rel, 0, NULL, 0);
	ExecOpenIndices(direct->info, false);
	direct->slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	CommandCounterIncrement();
}

bool
mb_direct_update(MbDirect *direct, const ItemPointerData *tid)
{
	TM_FailureData failure;
	LockTupleMode lock_mode;
	MbUpdateIndexes update_indexes;

	ExecStoreVirtualTuple(direct->slot);
	if (table_tuple_update(direct->rel, (ItemPointer) tid, direct->slot, GetCurrentCommandId(true), GetActiveSnapshot(),
						   InvalidSnapshot, true, &failure, &lock_mode, &update_indexes) != TM_Ok)
		return false;
	/* no room on the page, or an indexed column: not in the old one's chain */
	if (update_indexes)
	{
		mb_insert_index_tuples(direct->info, direct->slot, direct->estate, update_indexes);
		ResetPerTupleExprContext(direct->estate);
	}
	ExecClearTuple(direct->slot);
	return true;
}

void
mb_direct_end(MbDirect *direct)
{
	ExecDropSingleTupleTableSlot(direct->slot);
	ExecCloseIndices(direct->info);
	FreeExecutorState(direct->estate);
	CommandCounterIncrement();
}
