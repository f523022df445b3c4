/*
 * app_binding.c
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
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "app_binding.h"
#include "settings.h"

static const struct
{
	const char *camel;
	const char *snake;
	MbColumnKind kind;
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

static MemoryContext binding_context = NULL;
static MbBinding *binding = NULL;
static bool valid = false;
static uint64 generation = 0;

static void relcache_callback(Datum arg, Oid relid);
static void syscache_callback(Datum arg, int cacheid, uint32 hashvalue);
static void bind_table(void);
static Oid	find_table(void);
static void bind_column(MbBinding *new, Relation rel, MbAppColumn column);
static void load_labels(MbBinding *new, MbAppColumn column);
static bool no_triggers(Relation rel);
static void free_plans(void *arg);

void
mb_binding_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, syscache_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, syscache_callback, (Datum) 0);
}

void
mb_binding_forget(void)
{
	valid = false;
	generation++;
}

/* Runs at arbitrary places: it may only take note. */
static void
relcache_callback(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || (binding != NULL && binding->relid == relid))
		mb_binding_forget();
}

static void
syscache_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	mb_binding_forget();
}

/*
 * The table, open and locked, with a binding that is true of it, and stays so
 * while the lock is held.  Getting the lock may take as long as a migration,
 * and is what makes us see what the migration did: the binding is looked at
 * again afterwards.
 */
MbBinding *
mb_binding_open(Relation *rel, LOCKMODE lockmode)
{
	for (;;)
	{
		MbBinding  *b = mb_binding_get();

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

MbBinding *
mb_binding_get(void)
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
	MbBinding  *new;

	rel = relation_open(find_table(), AccessShareLock);
	context = AllocSetContextCreate(CurTransactionContext, "mb app table", ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	new = palloc0(sizeof(MbBinding));
	new->relid = RelationGetRelid(rel);
	new->owner = rel->rd_rel->relowner;
	new->row_type = rel->rd_rel->reltype;
	new->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
	for (int column = 0; column < MB_NUM_APP_COLUMNS; column++)
		bind_column(new, rel, column);
	load_labels(new, MB_COL_TIER);
	load_labels(new, MB_COL_STATUS);

	new->user_is_text = mb_binding_type_fits(new->type[MB_COL_USER_ID], KIND_TEXT);
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
		new->can_write = mb_probe_init(&new->probe, rel, &new->attnum[MB_COL_USER_ID], 1, true, InvalidOid);

	/* an index knows nothing of inheritance children's rows */
	new->can_probe = new->can_write && rel->rd_rel->relkind == RELKIND_RELATION && !rel->rd_rel->relhassubclass;

	new->keeps_places = new->can_probe && no_triggers(rel);

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
bind_column(MbBinding *new, Relation rel, MbAppColumn column)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped ||
			(strcmp(NameStr(att->attname), columns[column].camel) != 0 &&
			 strcmp(NameStr(att->attname), columns[column].snake) != 0))
			continue;
		if (!mb_binding_type_fits(att->atttypid, columns[column].kind))
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

bool
mb_binding_type_fits(Oid type, MbColumnKind kind)
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
load_labels(MbBinding *new, MbAppColumn column)
{
	CatCList   *list;

	if (!type_is_enum(new->type[column]))
		return;
	list = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(new->type[column]));
	new->labels[column] = palloc(Max(list->n_members, 1) * sizeof(MbLabel));
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_enum form = (Form_pg_enum) GETSTRUCT(&list->members[i]->tuple);

		new->labels[column][i].value = form->oid;
		new->labels[column][i].label = mb_text(pstrdup(NameStr(form->enumlabel)));
	}
	new->nlabels[column] = list->n_members;
	ReleaseCatCacheList(list);
}

/*
 * A trigger or rule of the app's own may write rows that are being written.
 * The name is what "ROWS FROM" calls a column of places.
 */
static bool
no_triggers(Relation rel)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		if (!rel->trigdesc->triggers[i].tgisinternal)
			return false;
	return rel->rd_rules == NULL && get_attnum(RelationGetRelid(rel), "unnest") == InvalidAttrNumber;
}

static void
free_plans(void *arg)
{
	MbBinding  *b = arg;
	SPIPlanPtr	plans[] = {b->plan_read, b->plan_read_all, b->plan_find, b->plan_holders, b->plan_lock, b->plan_lock_free,
	b->plan_update, b->plan_update_places, b->plan_insert};

	for (int i = 0; i < (int) lengthof(plans); i++)
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
}

/*
 * The types that a user column may have raise nothing in their input that
 * would have to be cleaned up after.
 */
bool
mb_binding_takes_user(const MbBinding *b, MbText user_id)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = true;

	PG_TRY();
	{
		(void) mb_binding_user_datum(b, user_id);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_INVALID_PARAMETER_VALUE)
			PG_RE_THROW();
		FlushErrorState();
		result = false;
	}
	PG_END_TRY();
	return result;
}

/* A user id as a value of the user column; error 22023 if the type refuses it. */
Datum
mb_binding_user_datum(const MbBinding *b, MbText user_id)
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

MbText
mb_binding_user_text(const MbBinding *b, Datum datum)
{
	return mb_text(OutputFunctionCall((FmgrInfo *) &b->user_out, datum));
}

Datum
mb_binding_label_datum(const MbBinding *b, MbAppColumn column, MbText label)
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
MbText
mb_binding_label_text(const MbBinding *b, MbAppColumn column, Datum datum)
{
	if (b->labels[column] == NULL)
		return mb_text(TextDatumGetCString(datum));
	for (int i = 0; i < b->nlabels[column]; i++)
		if (b->labels[column][i].value == DatumGetObjectId(datum))
			return b->labels[column][i].label;
	elog(ERROR, "unknown value %u of enum %u", DatumGetObjectId(datum), b->type[column]);
}
