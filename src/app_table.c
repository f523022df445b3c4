/*
 * app_table.c
 *	  Reading and writing the app's table.
 *
 * Reads take an index probe, or SQL where the table is no plain table; writes
 * go in set-wise, as arrays of the table's own row type.  app_binding.c knows
 * the table.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "app_binding.h"
#include "app_table.h"
#include "cuid.h"
#include "settings.h"
#include "spi.h"

/* Whom to be again after acting as the owner. */
typedef struct Identity
{
	Oid			user;
	int			context;
	int			nest_level;		/* of settings */
} Identity;

static void become_owner(const MbBinding *b, Identity *identity);
static void become_self(const Identity *identity);
static void prepare_read_all(MbBinding *b);
static bool read_by_probe(MbBinding *b, Relation rel, MbText user_id, MbUserRow *row);
static bool read_by_spi(MbBinding *b, MbText user_id, MbUserRow *row);
static SPIPlanPtr prepare_for_users(const MbBinding *b, const char *sql);
static void execute_for_users(const MbBinding *b, SPIPlanPtr plan, const MbText *users, int nusers);
static MbAppRow *lock_by_probe(const MbBinding *b, const MbText *users, int nusers, int *count);
static Datum *user_datums(const MbBinding *b, const MbText *users, int nusers);
static Datum users_array(const MbBinding *b, const MbText *users, int nusers);
static const char *select_list(const MbBinding *b, const char *prefix);
static MbAppRow *fetched_rows(const MbBinding *b, int *count);
static void fetched_row(const MbBinding *b, HeapTuple tuple, TupleDesc desc, MbAppRow *row);
static void read_row(const MbBinding *b, const Datum *values, const bool *nulls, MbAppRow *row);
static bool write_rows(MbBinding *b, const MbAppRow *rows, int nrows, bool exists);
static Datum rows_array(const MbBinding *b, const MbAppRow *rows, int nrows, bool exists, int count);
static Datum new_id(const MbBinding *b);
static char *update_sql(const MbBinding *b, bool by_place);
static const char *new_value(const MbBinding *b, MbAppColumn column);
static char *insert_sql(const MbBinding *b);

void
mb_app_table_lock_table(void)
{
	Relation	rel;
	MbBinding  *b = mb_binding_open(&rel, RowExclusiveLock);

	relation_close(rel, NoLock);

	if (!b->is_table)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", b->name),
				 errdetail("It can be read, but nothing can be written to it."),
				 errhint("Set momento_billing.subscription_table to the app's table.")));
	if (!b->can_write)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("table %s has no unique index on column %s", b->name, b->quoted[MB_COL_USER_ID]),
				 errdetail("The index must be valid, immediate and without a predicate."),
				 errhint("One row per user is what Prisma's @unique on userId ensures: CREATE UNIQUE INDEX ON %s (%s);",
						 b->name, b->quoted[MB_COL_USER_ID])));
}

MbText
mb_app_table_canonical_user(MbText user_id)
{
	MbBinding  *b = mb_binding_get();

	return b->user_is_text ? user_id : mb_binding_user_text(b, mb_binding_user_datum(b, user_id));
}

MbText
mb_app_table_user_or_none(MbText user_id)
{
	MbBinding  *b = mb_binding_get();

	if (user_id.data == NULL || b->user_is_text)
		return user_id;
	if (!mb_binding_takes_user(b, user_id))
		return MB_NO_TEXT;
	return mb_binding_user_text(b, mb_binding_user_datum(b, user_id));
}

bool
mb_app_table_read(MbText user_id, MbUserRow *row)
{
	Relation	rel;
	MbBinding  *b = mb_binding_open(&rel, AccessShareLock);
	bool		found;

	found = b->can_probe && !mb_force_spi && mb_probe_usable(&b->probe) ? read_by_probe(b, rel, user_id, row) : read_by_spi(b, user_id, row);
	/* kept to the transaction's end, as the executor does */
	table_close(rel, NoLock);
	return found;
}

MbAppRow *
mb_app_table_read_all(int *count)
{
	Relation	rel;
	MbBinding  *b = mb_binding_open(&rel, AccessShareLock);
	Identity	identity;

	prepare_read_all(b);
	become_owner(b, &identity);
	mb_spi_execute(b->plan_read_all, NULL, true, SPI_OK_SELECT);
	become_self(&identity);
	table_close(rel, NoLock);
	return fetched_rows(b, count);
}

Portal
mb_app_table_open(void)
{
	MbBinding  *b = mb_binding_get();
	Identity	identity;
	Portal		cursor;

	prepare_read_all(b);
	become_owner(b, &identity);
	cursor = SPI_cursor_open(NULL, b->plan_read_all, NULL, NULL, true);
	become_self(&identity);
	return cursor;
}

MbAppRow *
mb_app_table_fetch(Portal cursor, int limit, int *count)
{
	MbBinding  *b = mb_binding_get();
	Identity	identity;

	become_owner(b, &identity);
	SPI_cursor_fetch(cursor, true, limit);
	become_self(&identity);
	return fetched_rows(b, count);
}

MbAppRow *
mb_app_table_find(const MbText *users, int nusers, const MbText *customers, int ncustomers, int *count)
{
	MbBinding  *b = mb_binding_get();
	Oid			types[] = {get_array_type(b->type[MB_COL_USER_ID]), TEXTARRAYOID};
	Datum		args[] = {users_array(b, users, nusers), mb_spi_text_array(customers, ncustomers)};
	Identity	identity;

	if (b->plan_find == NULL)
		b->plan_find =
			mb_spi_prepare(psprintf("SELECT %1$s FROM %2$s WHERE %3$s OPERATOR(pg_catalog.=) ANY ($1)"
									" UNION SELECT %4$s FROM pg_catalog.unnest($2) AS n (id)"
									" JOIN %2$s AS t ON t.%5$s OPERATOR(pg_catalog.=) n.id",
									select_list(b, ""), b->name, b->quoted[MB_COL_USER_ID],
									select_list(b, "t."), b->quoted[MB_COL_CUSTOMER_ID]),
						   2, types);
	become_owner(b, &identity);
	mb_spi_execute(b->plan_find, args, true, SPI_OK_SELECT);
	become_self(&identity);
	return fetched_rows(b, count);
}

MbAppRow *
mb_app_table_holders(const MbText *subscriptions, int nsubscriptions, int *count)
{
	MbBinding  *b = mb_binding_get();
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(subscriptions, nsubscriptions)};
	Identity	identity;

	if (b->plan_holders == NULL)
		b->plan_holders =
			mb_spi_prepare(psprintf("SELECT %1$s FROM pg_catalog.unnest($1) AS n (id_given)"
									" JOIN %2$s AS t ON t.%3$s OPERATOR(pg_catalog.=) n.id_given",
									select_list(b, "t."), b->name, b->quoted[MB_COL_SUBSCRIPTION_ID]),
						   1, types);
	become_owner(b, &identity);
	mb_spi_execute(b->plan_holders, args, false, SPI_OK_SELECT);
	become_self(&identity);
	return fetched_rows(b, count);
}

MbAppRow *
mb_app_table_lock(const MbText *users, int nusers, int *count)
{
	MbBinding  *b = mb_binding_get();

	if (b->can_probe && !mb_force_spi && mb_probe_usable(&b->probe))
		return lock_by_probe(b, users, nusers, count);
	if (b->plan_lock == NULL)
		b->plan_lock = prepare_for_users(b, psprintf("SELECT %1$s FROM %2$s WHERE %3$s OPERATOR(pg_catalog.=) ANY ($1)"
													 " ORDER BY %3$s FOR NO KEY UPDATE",
													 select_list(b, ""), b->name, b->quoted[MB_COL_USER_ID]));
	execute_for_users(b, b->plan_lock, users, nusers);
	return fetched_rows(b, count);
}

MbText *
mb_app_table_lock_free(const MbText *users, int nusers, int *count)
{
	MbBinding  *b = mb_binding_get();
	MbText	   *result;

	if (b->plan_lock_free == NULL)
		b->plan_lock_free =
			prepare_for_users(b, psprintf("WITH free AS MATERIALIZED (SELECT %2$s FROM %1$s"
										  " WHERE %2$s OPERATOR(pg_catalog.=) ANY ($1)"
										  " ORDER BY %2$s FOR NO KEY UPDATE SKIP LOCKED)"
										  " SELECT t.%2$s FROM %1$s AS t"
										  " LEFT JOIN free AS f ON f.%2$s OPERATOR(pg_catalog.=) t.%2$s"
										  " WHERE t.%2$s OPERATOR(pg_catalog.=) ANY ($1) AND f.%2$s IS NULL",
										  b->name, b->quoted[MB_COL_USER_ID]));
	execute_for_users(b, b->plan_lock_free, users, nusers);
	*count = (int) SPI_processed;
	result = palloc(Max(*count, 1) * sizeof(MbText));
	for (int i = 0; i < *count; i++)
	{
		bool		isnull;

		result[i] = mb_binding_user_text(b, SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	return result;
}

bool
mb_app_table_write(const MbAppRow *rows, int nrows)
{
	MbBinding  *b = mb_binding_get();

	return write_rows(b, rows, nrows, true) && write_rows(b, rows, nrows, false);
}

/*
 * Until become_self(), act as the table's owner, restricted, and undo
 * whatever settings the owner's triggers change meanwhile: they would act in
 * our session afterwards.  An error restores all of it, in the
 * (sub)transaction's abort.
 */
static void
become_owner(const MbBinding *b, Identity *identity)
{
	GetUserIdAndSecContext(&identity->user, &identity->context);
	identity->nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(b->owner, identity->context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
}

static void
become_self(const Identity *identity)
{
	AtEOXact_GUC(false, identity->nest_level);
	SetUserIdAndSecContext(identity->user, identity->context);
}

static void
prepare_read_all(MbBinding *b)
{
	if (b->plan_read_all == NULL)
		b->plan_read_all = mb_spi_prepare(psprintf("SELECT %s FROM %s", select_list(b, ""), b->name), 0, NULL);
}

static bool
read_by_probe(MbBinding *b, Relation rel, MbText user_id, MbUserRow *row)
{
	Datum		key = mb_binding_user_datum(b, user_id);
	MbProbeScan scan;
	TupleTableSlot *slot;
	bool		found = false;

	mb_probe_begin(&scan, &b->probe, rel, &key);
	slot = mb_probe_next(&scan);
	if (slot != NULL)
	{
		Datum		values[MB_NUM_APP_COLUMNS];
		bool		nulls[MB_NUM_APP_COLUMNS];

		for (int column = MB_COL_TIER; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
			values[column] = slot_getattr(slot, b->attnum[column], &nulls[column]);

		*row = (MbUserRow)
		{
			.tier = nulls[MB_COL_TIER] ? MB_NO_TEXT : mb_binding_label_text(b, MB_COL_TIER, values[MB_COL_TIER]),
			.status = nulls[MB_COL_STATUS] ? MB_STATUS_OTHER :
				mb_status_from_label(mb_binding_label_text(b, MB_COL_STATUS, values[MB_COL_STATUS])),
			/* only whether there is one, in the row of a read */
			.subscription_id = nulls[MB_COL_SUBSCRIPTION_ID] ? MB_NO_TEXT : MB_TEXT_LITERAL(""),
			.period_start = nulls[MB_COL_PERIOD_START] ? MB_NO_TIME : DatumGetTimestamp(values[MB_COL_PERIOD_START]),
			.period_end = nulls[MB_COL_PERIOD_END] ? MB_NO_TIME : DatumGetTimestamp(values[MB_COL_PERIOD_END]),
			.cancel_at_period_end = !nulls[MB_COL_CANCEL_AT_PERIOD_END] && DatumGetBool(values[MB_COL_CANCEL_AT_PERIOD_END]),
		};
		found = true;
	}
	mb_probe_end(&scan);
	return found;
}

static bool
read_by_spi(MbBinding *b, MbText user_id, MbUserRow *row)
{
	Identity	identity;
	Datum		args[1] = {mb_binding_user_datum(b, user_id)};
	MemoryContext caller = CurrentMemoryContext;
	bool		found;

	SPI_connect();
	if (b->plan_read == NULL)
		b->plan_read = mb_spi_prepare(psprintf("SELECT %s FROM %s WHERE %s OPERATOR(pg_catalog.=) $1",
											   select_list(b, ""), b->name, b->quoted[MB_COL_USER_ID]),
									  1, &b->type[MB_COL_USER_ID]);
	become_owner(b, &identity);
	mb_spi_execute(b->plan_read, args, true, SPI_OK_SELECT);
	become_self(&identity);
	found = SPI_processed > 0;
	if (found)
	{
		MbAppRow	app_row;

		fetched_row(b, SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &app_row);
		*row = app_row.row;
		MemoryContextSwitchTo(caller);
		row->tier = mb_text_copy(row->tier);
		row->customer_id = row->price_id = MB_NO_TEXT;
		if (row->subscription_id.data != NULL)
			row->subscription_id = MB_TEXT_LITERAL("");
	}
	SPI_finish();
	return found;
}

/* A statement whose parameter is an array of users. */
static SPIPlanPtr
prepare_for_users(const MbBinding *b, const char *sql)
{
	Oid			user_array = get_array_type(b->type[MB_COL_USER_ID]);

	return mb_spi_prepare(sql, 1, &user_array);
}

/* As the owner. */
static void
execute_for_users(const MbBinding *b, SPIPlanPtr plan, const MbText *users, int nusers)
{
	Identity	identity;
	Datum		args[] = {users_array(b, users, nusers)};

	become_owner(b, &identity);
	mb_spi_execute(plan, args, false, SPI_OK_SELECT);
	become_self(&identity);
}

static MbAppRow *
lock_by_probe(const MbBinding *b, const MbText *users, int nusers, int *count)
{
	Relation	rel = table_open(b->relid, RowShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	MbProbeRow *found;
	MbAppRow   *rows;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	found = mb_probe_rows(&b->probe, rel, user_datums(b, users, nusers), nusers, true, count);
	PopActiveSnapshot();
	rows = palloc(Max(*count, 1) * sizeof(MbAppRow));
	for (int i = 0; i < *count; i++)
	{
		Datum		read[MB_NUM_APP_COLUMNS];
		bool		is_null[MB_NUM_APP_COLUMNS];

		heap_deform_tuple(found[i].tuple, desc, values, nulls);
		for (int column = MB_COL_USER_ID; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
		{
			read[column] = values[b->attnum[column] - 1];
			is_null[column] = nulls[b->attnum[column] - 1];
		}
		read_row(b, read, is_null, &rows[i]);
		rows[i].place = found[i].tuple->t_self;
	}
	/* kept to the transaction's end, as the executor does */
	table_close(rel, NoLock);
	return rows;
}

static Datum *
user_datums(const MbBinding *b, const MbText *users, int nusers)
{
	Datum	   *datums = palloc(Max(nusers, 1) * sizeof(Datum));

	for (int i = 0; i < nusers; i++)
		datums[i] = mb_binding_user_datum(b, users[i]);
	return datums;
}

static Datum
users_array(const MbBinding *b, const MbText *users, int nusers)
{
	return mb_spi_array(user_datums(b, users, nusers), nusers, b->type[MB_COL_USER_ID]);
}

/* The columns from MB_COL_USER_ID to MB_COL_CANCEL_AT_PERIOD_END, raw. */
static const char *
select_list(const MbBinding *b, const char *prefix)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int column = MB_COL_USER_ID; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
		appendStringInfo(&list, "%s%s%s", column == MB_COL_USER_ID ? "" : ", ", prefix, b->quoted[column]);
	return list.data;
}

static MbAppRow *
fetched_rows(const MbBinding *b, int *count)
{
	MbAppRow   *rows = palloc(Max(SPI_processed, 1) * sizeof(MbAppRow));

	*count = (int) SPI_processed;
	for (int i = 0; i < *count; i++)
		fetched_row(b, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &rows[i]);
	return rows;
}

static void
fetched_row(const MbBinding *b, HeapTuple tuple, TupleDesc desc, MbAppRow *row)
{
	Datum		values[MB_NUM_APP_COLUMNS];
	bool		nulls[MB_NUM_APP_COLUMNS];

	heap_deform_tuple(tuple, desc, values + MB_COL_USER_ID, nulls + MB_COL_USER_ID);
	read_row(b, values, nulls, row);
}

/* From the columns' values, by MbAppColumn. */
static void
read_row(const MbBinding *b, const Datum *values, const bool *nulls, MbAppRow *row)
{
	row->user_id = nulls[MB_COL_USER_ID] ? MB_NO_TEXT : mb_binding_user_text(b, values[MB_COL_USER_ID]);
	row->exists = true;
	ItemPointerSetInvalid(&row->place);
	row->row = (MbUserRow)
	{
		.tier = nulls[MB_COL_TIER] ? MB_NO_TEXT : mb_binding_label_text(b, MB_COL_TIER, values[MB_COL_TIER]),
		.status = nulls[MB_COL_STATUS] ? MB_STATUS_OTHER :
			mb_status_from_label(mb_binding_label_text(b, MB_COL_STATUS, values[MB_COL_STATUS])),
		.customer_id = mb_spi_text(values[MB_COL_CUSTOMER_ID], nulls[MB_COL_CUSTOMER_ID]),
		.subscription_id = mb_spi_text(values[MB_COL_SUBSCRIPTION_ID], nulls[MB_COL_SUBSCRIPTION_ID]),
		.price_id = mb_spi_text(values[MB_COL_PRICE_ID], nulls[MB_COL_PRICE_ID]),
		.period_start = nulls[MB_COL_PERIOD_START] ? MB_NO_TIME : DatumGetTimestamp(values[MB_COL_PERIOD_START]),
		.period_end = nulls[MB_COL_PERIOD_END] ? MB_NO_TIME : DatumGetTimestamp(values[MB_COL_PERIOD_END]),
		.cancel_at_period_end = !nulls[MB_COL_CANCEL_AT_PERIOD_END] && DatumGetBool(values[MB_COL_CANCEL_AT_PERIOD_END]),
	};
}

/* Write the rows that exist, or those that do not; false as mb_app_table_write. */
static bool
write_rows(MbBinding *b, const MbAppRow *rows, int nrows, bool exists)
{
	bool		by_place = exists && b->keeps_places;
	SPIPlanPtr *plan;
	Oid			types[4] = {get_array_type(b->row_type), b->type[MB_COL_UPDATED_AT], b->type[MB_COL_CREATED_AT], TIDARRAYOID};
	Datum		args[4];
	Datum	   *places = palloc(Max(nrows, 1) * sizeof(Datum));
	Identity	identity;
	int			count = 0;

	for (int i = 0; i < nrows; i++)
		if (rows[i].exists == exists)
		{
			by_place &= ItemPointerIsValid(&rows[i].place);
			places[count++] = PointerGetDatum(&rows[i].place);
		}
	if (count == 0)
		return true;
	args[0] = rows_array(b, rows, nrows, exists, count);
	args[1] = args[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	args[3] = mb_spi_array(places, by_place ? count : 0, TIDOID);
	plan = by_place ? &b->plan_update_places : exists ? &b->plan_update : &b->plan_insert;
	if (*plan == NULL)
		*plan = mb_spi_prepare(exists ? update_sql(b, by_place) : insert_sql(b), 4, types);
	become_owner(b, &identity);
	mb_spi_execute(*plan, args, false, exists ? SPI_OK_UPDATE : SPI_OK_INSERT);
	become_self(&identity);

	if (exists && SPI_processed != (uint64) count)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("updated " UINT64_FORMAT " rows of table %s instead of %d", SPI_processed, b->name, count),
				 errhint("A trigger or rule on the table suppresses updates.")));
	return SPI_processed == (uint64) count;
}

/*
 * Rows as an array of the table's own row type, which passes every type
 * through unchanged.  A time without zone holds UTC (R43), so it has the same
 * representation as one with a zone.
 */
static Datum
rows_array(const MbBinding *b, const MbAppRow *rows, int nrows, bool exists, int count)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(b->row_type, -1);
	Datum	   *elements = palloc(count * sizeof(Datum));
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	for (int i = 0, n = 0; i < nrows; i++)
	{
		const MbUserRow *row = &rows[i].row;

		if (rows[i].exists != exists)
			continue;
		memset(nulls, true, desc->natts * sizeof(bool));
#define SET(column, isnull, datum) \
		do { \
			int attr = b->attnum[column] - 1; \
			nulls[attr] = (isnull); \
			if (!nulls[attr]) \
				values[attr] = (datum); \
		} while (0)
		if (!exists)
			SET(MB_COL_ID, b->id_has_default, new_id(b));
		SET(MB_COL_USER_ID, false, mb_binding_user_datum(b, rows[i].user_id));
		SET(MB_COL_TIER, row->tier.data == NULL, mb_binding_label_datum(b, MB_COL_TIER, row->tier));
		SET(MB_COL_STATUS, false, mb_binding_label_datum(b, MB_COL_STATUS, mb_text(mb_status_label(row->status))));
		SET(MB_COL_CUSTOMER_ID, row->customer_id.data == NULL, mb_spi_text_datum(row->customer_id));
		SET(MB_COL_SUBSCRIPTION_ID, row->subscription_id.data == NULL, mb_spi_text_datum(row->subscription_id));
		SET(MB_COL_PRICE_ID, row->price_id.data == NULL, mb_spi_text_datum(row->price_id));
		SET(MB_COL_PERIOD_START, row->period_start == MB_NO_TIME, TimestampGetDatum(row->period_start));
		SET(MB_COL_PERIOD_END, row->period_end == MB_NO_TIME, TimestampGetDatum(row->period_end));
		SET(MB_COL_CANCEL_AT_PERIOD_END, false, BoolGetDatum(row->cancel_at_period_end));
#undef SET
		elements[n++] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	return mb_spi_array(elements, count, b->row_type);
}

/* Prisma makes ids on the client, so the column has no default. */
static Datum
new_id(const MbBinding *b)
{
	Oid			type = b->type[MB_COL_ID];

	if (mb_binding_type_fits(type, KIND_TEXT))
		return CStringGetTextDatum(mb_cuid());
	if (type == UUIDOID)
		return OidFunctionCall0(F_GEN_RANDOM_UUID);
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column %s of table %s has type %s and no default", b->quoted[MB_COL_ID], b->name, format_type_be(type)),
			 errhint("Give the column a default, or make it text or uuid.")));
}

static char *
update_sql(const MbBinding *b, bool by_place)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET %s = $2", b->name, b->quoted[MB_COL_UPDATED_AT]);
	for (int column = MB_COL_TIER; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
		appendStringInfo(&sql, ", %s = %s", b->quoted[column], new_value(b, column));
	if (by_place)
		appendStringInfoString(&sql, " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($4)) AS n WHERE t.ctid OPERATOR(pg_catalog.=) n.unnest");
	else
		appendStringInfo(&sql, " FROM pg_catalog.unnest($1) AS n WHERE t.%1$s OPERATOR(pg_catalog.=) n.%1$s", b->quoted[MB_COL_USER_ID]);
	return sql.data;
}

/*
 * A column of the new row.  What is in the array was not checked against a
 * varchar's length; as text it is, when it is assigned.
 */
static const char *
new_value(const MbBinding *b, MbAppColumn column)
{
	return psprintf("n.%s%s", b->quoted[column], b->type[column] == VARCHAROID ? "::pg_catalog.text" : "");
}

static char *
insert_sql(const MbBinding *b)
{
	StringInfoData names;
	StringInfoData values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int column = b->id_has_default ? MB_COL_USER_ID : MB_COL_ID; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
	{
		appendStringInfo(&names, "%s, ", b->quoted[column]);
		appendStringInfo(&values, "%s, ", new_value(b, column));
	}
	return psprintf("INSERT INTO %s (%s%s, %s) SELECT %s$3, $2 FROM pg_catalog.unnest($1) AS n ON CONFLICT (%s) DO NOTHING",
					b->name, names.data, b->quoted[MB_COL_CREATED_AT], b->quoted[MB_COL_UPDATED_AT],
					values.data, b->quoted[MB_COL_USER_ID]);
}
