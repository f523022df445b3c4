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
	const TriggerDesc *triggers = rel->trigdesc;
	const TupleConstr *constr = RelationGetDescr(rel)->constr;

	if (triggers != NULL &&
		(triggers->trig_update_before_row || triggers->trig_update_after_row ||
		 triggers->trig_update_before_statement || triggers->trig_update_after_statement))
		return false;
	return constr == NULL || (constr->num_check == 0 && !constr->has_generated_stored);
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
	direct->old = table_slot_create(rel, NULL);
	CommandCounterIncrement();
}

bool
mb_direct_fetch(MbDirect *direct, const ItemPointerData *tid)
{
	int			natts = direct->slot->tts_tupleDescriptor->natts;

	if (!table_tuple_fetch_row_version(direct->rel, (ItemPointer) tid, GetActiveSnapshot(), direct->old))
		return false;
	slot_getallattrs(direct->old);
	memcpy(direct->slot->tts_values, direct->old->tts_values, natts * sizeof(Datum));
	memcpy(direct->slot->tts_isnull, direct->old->tts_isnull, natts * sizeof(bool));
	return true;
}

bool
mb_direct_update(MbDirect *direct, const ItemPointerData *tid)
{
	TM_FailureData failure;
	LockTupleMode lock_mode;
	MbUpdateIndexes update_indexes;
	bool		updated;

	ExecStoreVirtualTuple(direct->slot);
	updated = table_tuple_update(direct->rel, (ItemPointer) tid, direct->slot, GetCurrentCommandId(true), GetActiveSnapshot(),
								 InvalidSnapshot, true, &failure, &lock_mode, &update_indexes) == TM_Ok;
	/* no room on the page, or an indexed column: not in the old one's chain */
	if (updated && update_indexes)
	{
		mb_insert_index_tuples(direct->info, direct->slot, direct->estate, update_indexes);
		ResetPerTupleExprContext(direct->estate);
	}
	ExecClearTuple(direct->slot);
	return updated;
}

void
mb_direct_end(MbDirect *direct)
{
	ExecDropSingleTupleTableSlot(direct->old);
	ExecDropSingleTupleTableSlot(direct->slot);
	ExecCloseIndices(direct->info);
	FreeExecutorState(direct->estate);
	CommandCounterIncrement();
}
