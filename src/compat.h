/*
 * compat.h
 *	  The only place that knows server versions: it brings older ones up to
 *	  the newest spelling.
 */
#ifndef MB_COMPAT_H
#define MB_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
#if PG_VERSION_NUM < 140000
#include "catalog/indexing.h"
#endif

/* Before the declaration, where the older spelling may stand too. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

#if PG_VERSION_NUM >= 180000
#define mb_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define mb_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* Whether an update has to be put into the indexes. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes MbUpdateIndexes;
#else
typedef bool MbUpdateIndexes;
#endif

/* Into all indexes, after an update. */
#if PG_VERSION_NUM >= 160000
#define mb_insert_index_tuples(info, slot, estate, update_indexes) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, (update_indexes) == TU_Summarizing)
#elif PG_VERSION_NUM >= 140000
#define mb_insert_index_tuples(info, slot, estate, update_indexes) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#else
#define mb_insert_index_tuples(info, slot, estate, update_indexes) \
	((estate)->es_result_relation_info = (info), ExecInsertIndexTuples(slot, estate, false, NULL, NIL))
#endif

#if PG_VERSION_NUM >= 140000
#define mb_index_insert(index, values, isnull, tid, heap, unique_check) \
	index_insert(index, values, isnull, tid, heap, unique_check, false, NULL)
#else
#define mb_index_insert(index, values, isnull, tid, heap, unique_check) \
	index_insert(index, values, isnull, tid, heap, unique_check, NULL)
#endif

/* A lexer of UTF-8 that checks the grammar only. */
#if PG_VERSION_NUM >= 170000
#define mb_make_json_lexer(json, len) makeJsonLexContextCstringLen(NULL, json, len, PG_UTF8, false)
#else
#define mb_make_json_lexer(json, len) makeJsonLexContextCstringLen(json, len, PG_UTF8, false)
#endif

/* What pg_stat_activity says that a resting worker waits for. */
#if PG_VERSION_NUM >= 170000
static inline uint32
mb_wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("MomentoBillingMain");
	return event;
}
#else
#define mb_wait_event() PG_WAIT_EXTENSION
#define MyProcNumber (MyProc->pgprocno)
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)

/* What InitMaterializedSRF does from 15 on. */
static inline void
InitMaterializedSRF(FunctionCallInfo fcinfo, int flags)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old_context;
	TupleDesc	tupdesc;

	(void) flags;
	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	old_context = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = CreateTupleDescCopy(tupdesc);
	rsinfo->setResult = tuplestore_begin_heap(rsinfo->allowedModes & SFRM_Materialize_Random, false, work_mem);
	MemoryContextSwitchTo(old_context);
}
#endif

/* Shared memory is asked for in a hook of its own from 15 on. */
#if PG_VERSION_NUM >= 150000
#define mb_install_shmem_request(saved, hook) (saved = shmem_request_hook, shmem_request_hook = hook)
#define mb_call_shmem_request(saved) do { if (saved) saved(); } while (0)
typedef shmem_request_hook_type mb_shmem_request_hook_type;
#else
#define mb_install_shmem_request(saved, hook) (saved = NULL, hook())
#define mb_call_shmem_request(saved) ((void) (saved))
typedef void (*mb_shmem_request_hook_type) (void);
#endif

#endif							/* MB_COMPAT_H */
