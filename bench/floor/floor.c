/*
 * floor.c
 *	  The least that draining must do, for the scale: read the fields out of
 *	  each event's jsonb, find the subscription's and the user's row by their
 *	  keys, and update these and the event's own in place (HOT).
 *
 * Nothing is compared, decided, locked beforehand or retried.  A function of a
 * server's session, compiled by bench/run.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"

PG_MODULE_MAGIC;

/* columns of the tables in events.sql and floor.sql */
#define INBOX_PAYLOAD 3
#define INBOX_PROCESSED_AT 6
#define MIRROR_PERIOD_END 7
#define APP_UPDATED_AT 12

/* A table with the index by which its rows are found. */
typedef struct Target
{
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} Target;

static Target open_target(Oid table, Oid index);
static void close_target(Target *target);
static void search(Target *target, StrategyNumber strategy, RegProcedure compare, Datum key);
static void update_by_key(Target *target, Datum key, AttrNumber column, Datum value);
static void update(Target *target, AttrNumber column, Datum value);
static Datum read_fields(Jsonb *payload, Datum *user_id);
static JsonbValue *get(JsonbContainer *object, const char *key, JsonbValue *value);

PG_FUNCTION_INFO_V1(floor_drain);

/* n, then inbox, subscriptions and users, each with an index: how many events. */
Datum
floor_drain(PG_FUNCTION_ARGS)
{
	static int64 position = 0;
	Target		inbox = open_target(PG_GETARG_OID(1), PG_GETARG_OID(2));
	Target		mirror = open_target(PG_GETARG_OID(3), PG_GETARG_OID(4));
	Target		app = open_target(PG_GETARG_OID(5), PG_GETARG_OID(6));
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	search(&inbox, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(position));
	while (n < PG_GETARG_INT32(0) && index_getnext_slot(inbox.scan, ForwardScanDirection, inbox.slot))
	{
		bool		isnull;
		Datum		payload = slot_getattr(inbox.slot, INBOX_PAYLOAD, &isnull);
		Jsonb	   *jsonb = (Jsonb *) PG_DETOAST_DATUM(payload);
		Datum		user_id;
		Datum		subscription_id = read_fields(jsonb, &user_id);

		position = DatumGetInt64(slot_getattr(inbox.slot, 1, &isnull));
		update_by_key(&mirror, subscription_id, MIRROR_PERIOD_END, TimestampTzGetDatum(now));
		update_by_key(&app, user_id, APP_UPDATED_AT, TimestampTzGetDatum(now));
		update(&inbox, INBOX_PROCESSED_AT, TimestampTzGetDatum(now));
		pfree(jsonb);
		n++;
	}
	index_endscan(inbox.scan);
	close_target(&inbox);
	close_target(&mirror);
	close_target(&app);
	PG_RETURN_INT32(n);
}

static Target
open_target(Oid table, Oid index)
{
	Target		target = {.table = table_open(table, RowExclusiveLock)};

	target.index = index_open(index, RowExclusiveLock);
	target.slot = table_slot_create(target.table, NULL);
	return target;
}

static void
close_target(Target *target)
{
	ExecDropSingleTupleTableSlot(target->slot);
	index_close(target->index, NoLock);
	table_close(target->table, NoLock);
}

static void
search(Target *target, StrategyNumber strategy, RegProcedure compare, Datum key)
{
	ScanKeyData scan_key;

	ScanKeyEntryInitialize(&scan_key, 0, 1, strategy, InvalidOid, target->index->rd_indcollation[0], compare, key);
	target->scan = mb_index_beginscan(target->table, target->index, GetActiveSnapshot(), 1);
	index_rescan(target->scan, &scan_key, 1, NULL, 0);
}

static void
update_by_key(Target *target, Datum key, AttrNumber column, Datum value)
{
	search(target, BTEqualStrategyNumber, F_TEXTEQ, key);
	if (!index_getnext_slot(target->scan, ForwardScanDirection, target->slot))
		elog(ERROR, "no row of %s", text_to_cstring(DatumGetTextPP(key)));
	update(target, column, value);
	index_endscan(target->scan);
}

/* A user's second event in a batch finds the version that the first has replaced: it is left at that. */
static void
update(Target *target, AttrNumber column, Datum value)
{
	bool		isnull = false;
	int			columns[] = {column};
	HeapTuple	old = ExecFetchSlotHeapTuple(target->slot, false, NULL);
	HeapTuple	new;

	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(old->t_data)))
		return;
	new = heap_modify_tuple_by_cols(old, RelationGetDescr(target->table), 1, columns, &value, &isnull);
	simple_heap_update(target->table, &target->slot->tts_tid, new);
	if (!HeapTupleIsHeapOnly(new))
		elog(ERROR, "an update of %s was not in place", RelationGetRelationName(target->table));
	heap_freetuple(new);
}

/* What any drain reads; returned are the keys of the rows. */
static Datum
read_fields(Jsonb *payload, Datum *user_id)
{
	static const char *const of_object[] = {"status", "customer", "cancel_at", "cancel_at_period_end", "ended_at"};
	static const char *const of_item[] = {"current_period_start", "current_period_end"};
	JsonbValue	created,
				type,
				data,
				object,
				metadata,
				user,
				id,
				items,
				list,
				price,
				value;
	JsonbValue *item;

	get(&payload->root, "created", &created);
	get(&payload->root, "type", &type);
	get(get(&payload->root, "data", &data)->val.binary.data, "object", &object);
	get(object.val.binary.data, "id", &id);
	get(get(object.val.binary.data, "metadata", &metadata)->val.binary.data, "userId", &user);
	for (int i = 0; i < (int) lengthof(of_object); i++)
		get(object.val.binary.data, of_object[i], &value);
	get(get(object.val.binary.data, "items", &items)->val.binary.data, "data", &list);
	item = getIthJsonbValueFromContainer(list.val.binary.data, 0);
	for (int i = 0; i < (int) lengthof(of_item); i++)
		get(item->val.binary.data, of_item[i], &value);
	get(get(item->val.binary.data, "price", &price)->val.binary.data, "id", &value);
	*user_id = PointerGetDatum(cstring_to_text_with_len(user.val.string.val, user.val.string.len));
	return PointerGetDatum(cstring_to_text_with_len(id.val.string.val, id.val.string.len));
}

static JsonbValue *
get(JsonbContainer *object, const char *key, JsonbValue *value)
{
	(void) getKeyJsonValueFromContainer(object, key, strlen(key), value);
	return value;
}
