/*
 * app_table.c
 *	  Binding of the app's table: names to columns, types, index and plans.
 *
 * The table belongs to the app and is changed by its migrations at any time.
 * Nothing of ours may depend on it in the catalogs (Prisma would then drop
 * us), so it is looked up by name; what was found is kept until a relcache
 * invalidation of the table, a change of any schema or enum, or of the
 * setting.
 *
 * A binding lives in "mb app table" below CacheMemoryContext, its saved plans
 * with it.  When it is replaced, it is handed to the transaction, because
 * callers further up the stack may still be executing one of its plans.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "app_table.h"
#include "catalog.h"
#include "cuid.h"
#include "settings.h"
#include "spi.h"

/* What a column's type may be. */
typedef enum ColumnKind
{
	KIND_ANY,
	KIND_USER,					/* text, varchar, uuid, integer */
	KIND_LABEL,					/* enum, text, varchar */
	KIND_TEXT,					/* text, varchar */
	KIND_TIME,					/* timestamp with or without time zone */
	KIND_BOOL
} ColumnKind;

static const struct
{
	const char *camel;
	const char *snake;
	ColumnKind	kind;
}			columns[MB_NUM_APP_COLUMNS] =
{
	{"id", "id", KIND_ANY},
	{"userId", "user_id", KIND_USER},
	{"tier", "tier", KIND_LABEL},
	{"status", "status", KIND_LABEL},
	{"stripeCustomerId", "stripe_customer_id", KIND_TEXT},
	{"stripeSubscriptionId", "stripe_subscription_id", KIND_TEXT},
	{"stripePriceId", "stripe_price_id", KIND_TEXT},
	{"currentPeriodStart", "current_period_start", KIND_TIME},
	{"currentPeriodEnd", "current_period_end", KIND_TIME},
	{"cancelAtPeriodEnd", "cancel_at_period_end", KIND_BOOL},
	{"createdAt", "created_at", KIND_TIME},
	{"updatedAt", "updated_at", KIND_TIME},
};

/* A label of an enum column; text columns need no such list. */
typedef struct Label
{
	Oid			value;
	MbText		label;
} Label;

/* Whom to be again after acting as the owner. */
typedef struct Identity
{
	Oid			user;
	int			context;
	int			nest_level;		/* of settings */
} Identity;

typedef struct Binding
{
	Oid			relid;
	Oid			owner;
	Oid			row_type;		/* the table's composite type */
	char	   *name;			/* qualified and quoted */
	AttrNumber	attnum[MB_NUM_APP_COLUMNS];
	Oid			type[MB_NUM_APP_COLUMNS];
	char	   *quoted[MB_NUM_APP_COLUMNS];
	bool		id_has_default;
	bool		user_is_text;
	FmgrInfo	user_in;
	Oid			user_ioparam;
	FmgrInfo	user_out;
	Label	   *labels[MB_NUM_APP_COLUMNS];
	int			nlabels[MB_NUM_APP_COLUMNS];
	bool		can_probe;
	MbProbe		probe;
	bool		is_table;		/* partitioned or not; else it is only read */
	bool		can_write;		/* is there a unique index for ON CONFLICT? */
	SPIPlanPtr	plan_read;
	SPIPlanPtr	plan_read_all;
	SPIPlanPtr	plan_lock;
	SPIPlanPtr	plan_lock_free;
	SPIPlanPtr	plan_update;
	SPIPlanPtr	plan_insert;
	MemoryContextCallback free_plans;
} Binding;

static MemoryContext binding_context = NULL;
static Binding *binding = NULL;
static bool valid = false;
static uint64 generation = 0;

static void relcache_callback(Datum arg, Oid relid);
static void syscache_callback(Datum arg, int cacheid, uint32 hashvalue);
static Binding *open_table(Relation *rel, LOCKMODE lockmode);
static Binding *get_binding(void);
static void bind_table(void);
static Oid	find_table(void);
static void bind_column(Binding *new, Relation rel, MbAppColumn column);
static bool type_fits(Oid type, ColumnKind kind);
static void load_labels(Binding *new, MbAppColumn column);
static void free_plans(void *arg);
static Datum user_datum(const Binding *b, MbText user_id);
static MbText user_text(const Binding *b, Datum datum);
static Datum label_datum(const Binding *b, MbAppColumn column, MbText label);
static MbText label_text(const Binding *b, MbAppColumn column, Datum datum);
static void become_owner(const Binding *b, Identity *identity);
static void become_self(const Identity *identity);
static bool read_by_probe(Binding *b, Relation rel, MbText user_id, MbUserRow *row);
static bool read_by_spi(Binding *b, MbText user_id, MbUserRow *row);
static SPIPlanPtr prepare_for_users(const Binding *b, const char *sql);
static void execute_for_users(const Binding *b, SPIPlanPtr plan, const MbText *users, int nusers);
static const char *select_list(const Binding *b);
static MbAppRow *fetched_rows(const Binding *b, int *count);
static void fetched_row(const Binding *b, HeapTuple tuple, TupleDesc desc, MbAppRow *row);
static bool write_rows(Binding *b, const MbAppRow *rows, int nrows, bool exists);
static Datum rows_array(const Binding *b, const MbAppRow *rows, int nrows, bool exists, int *count);
static Datum new_id(const Binding *b);
static char *update_sql(const Binding *b);
static const char *new_value(const Binding *b, MbAppColumn column);
static char *insert_sql(const Binding *b);

void
mb_app_table_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, syscache_callback, (Datum) 0);
}

void
mb_app_table_forget(void)
{
	valid = false;
	generation++;
}

void
mb_app_table_lock_table(void)
{
	Relation	rel;
	Binding    *b = open_table(&rel, RowExclusiveLock);

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
	Binding    *b = get_binding();

	return b->user_is_text ? user_id : user_text(b, user_datum(b, user_id));
}

bool
mb_app_table_read(MbText user_id, MbUserRow *row)
{
	Relation	rel;
	Binding    *b = open_table(&rel, AccessShareLock);
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
	Binding    *b = open_table(&rel, AccessShareLock);
	Identity	identity;

	if (b->plan_read_all == NULL)
		b->plan_read_all = mb_spi_prepare(psprintf("SELECT %s FROM %s", select_list(b), b->name), 0, NULL);
	become_owner(b, &identity);
	mb_spi_execute(b->plan_read_all, NULL, true, SPI_OK_SELECT);
	become_self(&identity);
	table_close(rel, NoLock);
	return fetched_rows(b, count);
}

MbAppRow *
mb_app_table_lock(const MbText *users, int nusers, int *count)
{
	Binding    *b = get_binding();

	if (b->plan_lock == NULL)
		b->plan_lock = prepare_for_users(b, psprintf("SELECT %1$s FROM %2$s WHERE %3$s OPERATOR(pg_catalog.=) ANY ($1)"
													 " ORDER BY %3$s FOR NO KEY UPDATE",
													 select_list(b), b->name, b->quoted[MB_COL_USER_ID]));
	execute_for_users(b, b->plan_lock, users, nusers);
	return fetched_rows(b, count);
}

MbText *
mb_app_table_lock_free(const MbText *users, int nusers, int *count)
{
	Binding    *b = get_binding();
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

		result[i] = user_text(b, SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	}
	return result;
}

bool
mb_app_table_write(const MbAppRow *rows, int nrows)
{
	Binding    *b = get_binding();

	return write_rows(b, rows, nrows, true) && write_rows(b, rows, nrows, false);
}

/* Runs at arbitrary places: it may only take note. */
static void
relcache_callback(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || (binding != NULL && binding->relid == relid))
		mb_app_table_forget();
}

static void
syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	mb_app_table_forget();
}

/*
 * The table, open and locked, with a binding that is true of it, and stays so
 * while the lock is held.  Getting the lock may take as long as a migration,
 * and is what makes us see what the migration did: the binding is looked at
 * again afterwards.
 */
static Binding *
open_table(Relation *rel, LOCKMODE lockmode)
{
	for (;;)
	{
		Binding    *b = get_binding();

		/* the lock first: if nothing has happened by then, nothing can */
		LockRelationOid(b->relid, lockmode);
		if (valid && b == binding)
		{
			*rel = relation_open(b->relid, NoLock);
			return b;
		}
		UnlockRelationOid(b->relid, lockmode);
	}
}

static Binding *
get_binding(void)
{
	AcceptInvalidationMessages();
	while (!valid)
		bind_table();
	return binding;
}

static void
bind_table(void)
{
	uint64		binding_generation = generation;
	MemoryContext context;
	MemoryContext old_context;
	Relation	rel;
	Binding    *new;

	rel = relation_open(find_table(), AccessShareLock);
	context = AllocSetContextCreate(CurTransactionContext, "mb app table", ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	new = palloc0(sizeof(Binding));
	new->relid = RelationGetRelid(rel);
	new->owner = rel->rd_rel->relowner;
	new->row_type = rel->rd_rel->reltype;
	new->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	for (int column = 0; column < MB_NUM_APP_COLUMNS; column++)
		bind_column(new, rel, column);
	load_labels(new, MB_COL_TIER);
	load_labels(new, MB_COL_STATUS);

	new->user_is_text = type_fits(new->type[MB_COL_USER_ID], KIND_TEXT);
	{
		Oid			function;
		bool		is_varlena;

		getTypeInputInfo(new->type[MB_COL_USER_ID], &function, &new->user_ioparam);
		fmgr_info_cxt(function, &new->user_in, context);
		getTypeOutputInfo(new->type[MB_COL_USER_ID], &function, &is_varlena);
		fmgr_info_cxt(function, &new->user_out, context);
	}

	new->is_table = rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (new->is_table)
		new->can_write = mb_probe_init(&new->probe, rel, &new->attnum[MB_COL_USER_ID], 1, true);

	/* an index knows nothing of inheritance children's rows */
	new->can_probe = new->can_write && rel->rd_rel->relkind == RELKIND_RELATION && !rel->rd_rel->relhassubclass;

	/* Plans are made at their first use and freed with the context. */
	new->free_plans.func = free_plans;
	new->free_plans.arg = new;
	MemoryContextRegisterResetCallback(context, &new->free_plans);
	MemoryContextSwitchTo(old_context);
	relation_close(rel, AccessShareLock);

	/* Changed while it was read: the caller tries again. */
	if (binding_generation != generation)
	{
		MemoryContextDelete(context);
		return;
	}
	if (binding_context != NULL)
		MemoryContextSetParent(binding_context, TopTransactionContext);
	MemoryContextSetParent(context, CacheMemoryContext);
	binding_context = context;
	binding = new;
	valid = true;
}

/* The table named by the setting. */
static Oid
find_table(void)
{
	List	   *names;
	Oid			schema;
	Oid			relid = InvalidOid;

	if (!SplitIdentifierString(pstrdup(mb_subscription_table), '.', &names) || list_length(names) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\": \"%s\"", "momento_billing.subscription_table", mb_subscription_table),
				 errhint("Give a schema-qualified name, quoted as in SQL, such as public.\"Subscription\".")));
	schema = get_namespace_oid(linitial(names), true);
	if (OidIsValid(schema))
		relid = get_relname_relid(lsecond(names), schema);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist", mb_subscription_table),
				 errhint("Run the app's migrations, call momento_billing.create_subscription_table(), or set momento_billing.subscription_table.")));
	return relid;
}

static void
bind_column(Binding *new, Relation rel, MbAppColumn column)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped ||
			(strcmp(NameStr(att->attname), columns[column].camel) != 0 &&
			 strcmp(NameStr(att->attname), columns[column].snake) != 0))
			continue;
		if (!type_fits(att->atttypid, columns[column].kind))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table %s has unexpected type %s",
							NameStr(att->attname), new->name, format_type_be(att->atttypid)),
					 errhint("Compare the table with the model in the documentation of momento_billing.")));
		new->attnum[column] = att->attnum;
		new->type[column] = att->atttypid;
		new->quoted[column] = pstrdup(quote_identifier(NameStr(att->attname)));
		if (column == MB_COL_ID)
			new->id_has_default = att->atthasdef || att->attidentity != '\0';
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table %s does not exist", columns[column].camel, new->name),
			 errhint("The table must have the columns of the model in the documentation of momento_billing, in camelCase or snake_case.")));
}

static bool
type_fits(Oid type, ColumnKind kind)
{
	bool		is_text = type == TEXTOID || type == VARCHAROID;

	switch (kind)
	{
		case KIND_ANY:
			return true;
		case KIND_USER:
			return is_text || type == UUIDOID || type == INT8OID || type == INT4OID || type == INT2OID;
		case KIND_LABEL:
			return is_text || type_is_enum(type);
		case KIND_TEXT:
			return is_text;
		case KIND_TIME:
			return type == TIMESTAMPOID || type == TIMESTAMPTZOID;
		case KIND_BOOL:
			return type == BOOLOID;
	}
	return false;
}

static void
load_labels(Binding *new, MbAppColumn column)
{
	CatCList   *list;

	if (!type_is_enum(new->type[column]))
		return;
	list = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(new->type[column]));
	new->labels[column] = palloc(Max(list->n_members, 1) * sizeof(Label));
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_enum form = (Form_pg_enum) GETSTRUCT(&list->members[i]->tuple);

		new->labels[column][i].value = form->oid;
		new->labels[column][i].label = mb_text(pstrdup(NameStr(form->enumlabel)));
	}
	new->nlabels[column] = list->n_members;
	ReleaseCatCacheList(list);
}

static void
free_plans(void *arg)
{
	Binding    *b = arg;
	SPIPlanPtr	plans[] = {b->plan_read, b->plan_read_all, b->plan_lock, b->plan_lock_free, b->plan_update, b->plan_insert};

	for (int i = 0; i < (int) lengthof(plans); i++)
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
}

/* A user id as a value of the user column; error 22023 if the type refuses it. */
static Datum
user_datum(const Binding *b, MbText user_id)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *string;
	volatile Datum result = (Datum) 0;

	if (b->user_is_text)
		return PointerGetDatum(cstring_to_text_with_len(user_id.data, user_id.len));

	string = pnstrdup(user_id.data, user_id.len);
	PG_TRY();
	{
		result = InputFunctionCall((FmgrInfo *) &b->user_in, string, b->user_ioparam, -1);
	}
	PG_CATCH();
	{
		/* Raised anew with our SQLSTATE, so nothing is swallowed here. */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid user id \"%s\"", string),
				 errdetail("The column %s of table %s has type %s.", b->quoted[MB_COL_USER_ID], b->name,
						   format_type_be(b->type[MB_COL_USER_ID]))));
	}
	PG_END_TRY();
	return result;
}

static MbText
user_text(const Binding *b, Datum datum)
{
	return mb_text(OutputFunctionCall((FmgrInfo *) &b->user_out, datum));
}

static Datum
label_datum(const Binding *b, MbAppColumn column, MbText label)
{
	if (b->labels[column] == NULL)
		return PointerGetDatum(cstring_to_text_with_len(label.data, label.len));
	for (int i = 0; i < b->nlabels[column]; i++)
		if (mb_text_eq(b->labels[column][i].label, label))
			return ObjectIdGetDatum(b->labels[column][i].value);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("enum %s of column %s of table %s has no label \"%.*s\"",
					format_type_be(b->type[column]), b->quoted[column], b->name, label.len, label.data),
			 errhint("Add the label to the app's enum, or name the tier in momento_billing.tier as the app does.")));
}

/* A label; of an enum, in the binding's memory, else in the current context. */
static MbText
label_text(const Binding *b, MbAppColumn column, Datum datum)
{
	if (b->labels[column] == NULL)
		return mb_text(TextDatumGetCString(datum));
	for (int i = 0; i < b->nlabels[column]; i++)
		if (b->labels[column][i].value == DatumGetObjectId(datum))
			return b->labels[column][i].label;
	elog(ERROR, "unknown value %u of enum %u", DatumGetObjectId(datum), b->type[column]);
}

/*
 * Until become_self(), act as the table's owner, restricted, and undo
 * whatever settings the owner's triggers change meanwhile: they would act in
 * our session afterwards.  An error restores all of it, in the
 * (sub)transaction's abort.
 */
static void
become_owner(const Binding *b, Identity *identity)
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

static bool
read_by_probe(Binding *b, Relation rel, MbText user_id, MbUserRow *row)
{
	Datum		key = user_datum(b, user_id);
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
			.tier = nulls[MB_COL_TIER] ? MB_NO_TEXT : label_text(b, MB_COL_TIER, values[MB_COL_TIER]),
			.status = nulls[MB_COL_STATUS] ? MB_STATUS_OTHER :
				mb_status_from_label(label_text(b, MB_COL_STATUS, values[MB_COL_STATUS])),
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
read_by_spi(Binding *b, MbText user_id, MbUserRow *row)
{
	Identity	identity;
	Datum		args[1] = {user_datum(b, user_id)};
	MemoryContext caller = CurrentMemoryContext;
	bool		found;

	SPI_connect();
	if (b->plan_read == NULL)
		b->plan_read = mb_spi_prepare(psprintf("SELECT %s FROM %s WHERE %s OPERATOR(pg_catalog.=) $1",
											   select_list(b), b->name, b->quoted[MB_COL_USER_ID]),
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
prepare_for_users(const Binding *b, const char *sql)
{
	Oid			user_array = get_array_type(b->type[MB_COL_USER_ID]);

	return mb_spi_prepare(sql, 1, &user_array);
}

/* As the owner. */
static void
execute_for_users(const Binding *b, SPIPlanPtr plan, const MbText *users, int nusers)
{
	Identity	identity;
	Datum	   *datums = palloc(Max(nusers, 1) * sizeof(Datum));
	Datum		args[1];

	for (int i = 0; i < nusers; i++)
		datums[i] = user_datum(b, users[i]);
	args[0] = mb_spi_array(datums, nusers, b->type[MB_COL_USER_ID]);
	become_owner(b, &identity);
	mb_spi_execute(plan, args, false, SPI_OK_SELECT);
	become_self(&identity);
}

/* The columns from MB_COL_USER_ID to MB_COL_CANCEL_AT_PERIOD_END, raw. */
static const char *
select_list(const Binding *b)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int column = MB_COL_USER_ID; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
		appendStringInfo(&list, "%s%s", column == MB_COL_USER_ID ? "" : ", ", b->quoted[column]);
	return list.data;
}

static MbAppRow *
fetched_rows(const Binding *b, int *count)
{
	MbAppRow   *rows = palloc(Max(SPI_processed, 1) * sizeof(MbAppRow));

	*count = (int) SPI_processed;
	for (int i = 0; i < *count; i++)
		fetched_row(b, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &rows[i]);
	return rows;
}

static void
fetched_row(const Binding *b, HeapTuple tuple, TupleDesc desc, MbAppRow *row)
{
	Datum		values[MB_NUM_APP_COLUMNS];
	bool		nulls[MB_NUM_APP_COLUMNS];

	heap_deform_tuple(tuple, desc, values, nulls);
#define VALUE(column) values[(column) - MB_COL_USER_ID]
#define IS_NULL(column) nulls[(column) - MB_COL_USER_ID]
	row->user_id = IS_NULL(MB_COL_USER_ID) ? MB_NO_TEXT : user_text(b, VALUE(MB_COL_USER_ID));
	row->exists = true;
	row->row = (MbUserRow)
	{
		.tier = IS_NULL(MB_COL_TIER) ? MB_NO_TEXT : label_text(b, MB_COL_TIER, VALUE(MB_COL_TIER)),
		.status = IS_NULL(MB_COL_STATUS) ? MB_STATUS_OTHER :
			mb_status_from_label(label_text(b, MB_COL_STATUS, VALUE(MB_COL_STATUS))),
		.customer_id = mb_spi_text(VALUE(MB_COL_CUSTOMER_ID), IS_NULL(MB_COL_CUSTOMER_ID)),
		.subscription_id = mb_spi_text(VALUE(MB_COL_SUBSCRIPTION_ID), IS_NULL(MB_COL_SUBSCRIPTION_ID)),
		.price_id = mb_spi_text(VALUE(MB_COL_PRICE_ID), IS_NULL(MB_COL_PRICE_ID)),
		.period_start = IS_NULL(MB_COL_PERIOD_START) ? MB_NO_TIME : DatumGetTimestamp(VALUE(MB_COL_PERIOD_START)),
		.period_end = IS_NULL(MB_COL_PERIOD_END) ? MB_NO_TIME : DatumGetTimestamp(VALUE(MB_COL_PERIOD_END)),
		.cancel_at_period_end = !IS_NULL(MB_COL_CANCEL_AT_PERIOD_END) && DatumGetBool(VALUE(MB_COL_CANCEL_AT_PERIOD_END)),
	};
#undef VALUE
#undef IS_NULL
}

/* Write the rows that exist, or those that do not; false as mb_app_table_write. */
static bool
write_rows(Binding *b, const MbAppRow *rows, int nrows, bool exists)
{
	SPIPlanPtr *plan = exists ? &b->plan_update : &b->plan_insert;
	Oid			types[3] = {get_array_type(b->row_type), b->type[MB_COL_UPDATED_AT], b->type[MB_COL_CREATED_AT]};
	Datum		args[3];
	Identity	identity;
	int			count;

	args[0] = rows_array(b, rows, nrows, exists, &count);
	args[1] = args[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (count == 0)
		return true;
	if (*plan == NULL)
		*plan = mb_spi_prepare(exists ? update_sql(b) : insert_sql(b), 3, types);
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
rows_array(const Binding *b, const MbAppRow *rows, int nrows, bool exists, int *count)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(b->row_type, -1);
	Datum	   *elements = palloc(Max(nrows, 1) * sizeof(Datum));
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	*count = 0;
	for (int i = 0; i < nrows; i++)
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
		SET(MB_COL_USER_ID, false, user_datum(b, rows[i].user_id));
		SET(MB_COL_TIER, row->tier.data == NULL, label_datum(b, MB_COL_TIER, row->tier));
		SET(MB_COL_STATUS, false, label_datum(b, MB_COL_STATUS, mb_text(mb_status_label(row->status))));
		SET(MB_COL_CUSTOMER_ID, row->customer_id.data == NULL, mb_spi_text_datum(row->customer_id));
		SET(MB_COL_SUBSCRIPTION_ID, row->subscription_id.data == NULL, mb_spi_text_datum(row->subscription_id));
		SET(MB_COL_PRICE_ID, row->price_id.data == NULL, mb_spi_text_datum(row->price_id));
		SET(MB_COL_PERIOD_START, row->period_start == MB_NO_TIME, TimestampGetDatum(row->period_start));
		SET(MB_COL_PERIOD_END, row->period_end == MB_NO_TIME, TimestampGetDatum(row->period_end));
		SET(MB_COL_CANCEL_AT_PERIOD_END, false, BoolGetDatum(row->cancel_at_period_end));
#undef SET
		elements[(*count)++] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	return mb_spi_array(elements, *count, b->row_type);
}

/* Prisma makes ids on the client, so the column has no default. */
static Datum
new_id(const Binding *b)
{
	Oid			type = b->type[MB_COL_ID];

	if (type_fits(type, KIND_TEXT))
		return CStringGetTextDatum(mb_cuid());
	if (type == UUIDOID)
		return OidFunctionCall0(F_GEN_RANDOM_UUID);
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column %s of table %s has type %s and no default", b->quoted[MB_COL_ID], b->name, format_type_be(type)),
			 errhint("Give the column a default, or make it text or uuid.")));
}

static char *
update_sql(const Binding *b)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS t SET %s = $2", b->name, b->quoted[MB_COL_UPDATED_AT]);
	for (int column = MB_COL_TIER; column <= MB_COL_CANCEL_AT_PERIOD_END; column++)
		appendStringInfo(&sql, ", %s = %s", b->quoted[column], new_value(b, column));
	appendStringInfo(&sql, " FROM pg_catalog.unnest($1) AS n WHERE t.%1$s OPERATOR(pg_catalog.=) n.%1$s", b->quoted[MB_COL_USER_ID]);
	return sql.data;
}

/*
 * A column of the new row.  What is in the array was not checked against a
 * varchar's length; as text it is, when it is assigned.
 */
static const char *
new_value(const Binding *b, MbAppColumn column)
{
	return psprintf("n.%s%s", b->quoted[column], b->type[column] == VARCHAROID ? "::pg_catalog.text" : "");
}

static char *
insert_sql(const Binding *b)
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
