/*
 * catalog.c
 *	  Cache of tier, price, feature and plan_limit.
 *
 * A statement trigger on each table (catalog_changed) sends a relcache
 * invalidation; every backend then reloads at its next use.  The flags that
 * say whether other_access and quota_grant have any row at all live here too,
 * because they are invalidated in the same way: while nobody has such a row,
 * nobody pays for it.
 *
 * Rows are read under a catalog snapshot, not the active one: a snapshot
 * taken before a change would load the old rows after the invalidation for
 * the new ones has been consumed, and nothing would invalidate them again.
 *
 * The cache lives in "mb catalog" below CacheMemoryContext.  When it is
 * replaced, the old one is handed to the transaction, because callers further
 * up the stack may still hold it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "catalog.h"
#include "compat.h"
#include "settings.h"
#include "stats.h"

typedef enum CachedTable
{
	TABLE_TIER,
	TABLE_PRICE,
	TABLE_FEATURE,
	TABLE_PLAN_LIMIT,
	TABLE_OTHER_ACCESS,
	TABLE_QUOTA_GRANT,
	TABLE_FORGOTTEN,
	TABLE_USAGE,				/* not its rows, but how to probe it; as for
								 * those below */
	TABLE_QUOTA_RESERVATION,
	TABLE_QUOTA_REQUEST,
	TABLE_CUSTOMER,
	TABLE_SUBSCRIPTION,
	NUM_CACHED_TABLES
} CachedTable;

static const char *const table_names[NUM_CACHED_TABLES] = {
	"tier", "price", "feature", "plan_limit", "other_access", "quota_grant", "forgotten",
	"usage", "quota_reservation", "quota_request",
	"stripe_customer", "stripe_subscription"
};

static Oid	relids[NUM_CACHED_TABLES];
static MemoryContext catalog_context = NULL;
static MbCatalog *catalog = NULL;
static bool valid = false;

/* Counts invalidations, so that one that comes while loading is not lost. */
static uint64 generation = 0;

static bool is_told(const TriggerData *trigdata);
static void relcache_callback(Datum arg, Oid relid);
static void load(void);
static void *read_table(CachedTable table, size_t size, int *count,
						void (*read_row) (void *row, TupleDesc desc, HeapTuple tuple));
static bool has_rows(CachedTable table);
static void prepare_probe(MbProbe *probe, Oid relid, AttrNumber first, int ncolumns, bool unique, Oid partial);
static Datum row_attr(TupleDesc desc, HeapTuple tuple, const char *name, bool *isnull);
static MbText row_text(TupleDesc desc, HeapTuple tuple, const char *name);
static void read_tier(void *row, TupleDesc desc, HeapTuple tuple);
static void read_price(void *row, TupleDesc desc, HeapTuple tuple);
static void read_feature(void *row, TupleDesc desc, HeapTuple tuple);
static void read_limit(void *row, TupleDesc desc, HeapTuple tuple);
static int	tier_cmp(const void *a, const void *b);
static int	price_cmp(const void *a, const void *b);

/* Rows as read, before names become indexes. */
typedef struct TierRow
{
	MbTier		tier;
	bool		is_default;
} TierRow;

typedef struct PriceRow
{
	MbPrice		price;
	MbText		tier;
} PriceRow;

typedef struct LimitRow
{
	MbText		tier;
	MbText		feature;
	int64		monthly_limit;
} LimitRow;

PG_FUNCTION_INFO_V1(catalog_changed);

void
mb_catalog_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

const MbCatalog *
mb_catalog_get(void)
{
	/* a transaction that has its locks already would hear of nothing */
	AcceptInvalidationMessages();
	while (!valid)
		load();
	if (catalog->plans.default_tier == MB_NO_TIER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no default tier is configured"),
				 errhint("Call momento_billing.seed_plans(), or mark one row of momento_billing.tier as is_default.")));
	catalog->plans.rules = (MbAccessRules)
	{
		.has_past_due_grace = mb_past_due_grace >= 0,
		.past_due_grace = mb_past_due_grace * USECS_PER_SEC,
		.cancel_at_ended_at = mb_cancel_access == MB_CANCEL_ENDED_AT,
	};
	catalog->generation = generation;
	return catalog;
}

char *
mb_catalog_extension_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	char	   *version = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("momento_billing"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;

		version = TextDatumGetCString(heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

/* Number by number; what follows the numbers of a version means nothing. */
bool
mb_catalog_is_newer(const char *version)
{
	const char *ours = MB_VERSION;

	for (;;)
	{
		char	   *end;
		char	   *our_end;
		long		number = strtol(version, &end, 10);
		long		our_number = strtol(ours, &our_end, 10);

		if (number != our_number)
			return number > our_number;
		if (*end != '.' || *our_end != '.')
			return *end == '.';
		version = end + 1;
		ours = our_end + 1;
	}
}

/*
 * Statement trigger on the cached tables: tell every session, and wake the
 * worker for repairs.  It changes no row and waits for nothing.
 */
Datum
catalog_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"catalog_changed\" must be called as a trigger")));
	if (!is_told(trigdata))
		CacheInvalidateRelcache(trigdata->tg_relation);

	/* what a price buys may mend rows: upkeep.c */
	if (strcmp(RelationGetRelationName(trigdata->tg_relation), table_names[TABLE_PRICE]) == 0)
		mb_stats_wake_at_end();
	return PointerGetDatum(NULL);
}

/*
 * Of other_access and quota_grant only whether there is any row is cached: of
 * many inserts of a (sub)transaction the first one's message is enough, which
 * is sent, or dropped, for all of them; once this session itself knows.
 */
static bool
is_told(const TriggerData *trigdata)
{
	static struct
	{
		TransactionId xid;
		SubTransactionId subid;
	}			told[NUM_CACHED_TABLES];
	Oid			relid = RelationGetRelid(trigdata->tg_relation);
	TransactionId xid = GetTopTransactionIdIfAny();
	SubTransactionId subid = GetCurrentSubTransactionId();

	for (int i = 0; i < NUM_CACHED_TABLES; i++)
	{
		bool		is_same;
		bool		is_known;

		if (relid != relids[i] || (i != TABLE_OTHER_ACCESS && i != TABLE_QUOTA_GRANT))
			continue;
		is_same = TransactionIdIsValid(xid) && told[i].xid == xid && told[i].subid == subid;
		told[i].xid = TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ? xid : InvalidTransactionId;
		told[i].subid = subid;
		is_known = valid && (i == TABLE_QUOTA_GRANT ? catalog->has_quota_grants : catalog->has_other_access);
		return is_same && is_known;
	}
	return false;
}

/* Runs at arbitrary places: it may only take note. */
static void
relcache_callback(Datum arg, Oid relid)
{
	bool		ours = !OidIsValid(relid);

	for (int i = 0; i < NUM_CACHED_TABLES; i++)
		ours |= relid == relids[i];
	if (ours)
	{
		valid = false;
		generation++;
	}
}

static void
load(void)
{
	uint64		loading = generation;
	Oid			schema = get_namespace_oid("momento_billing", true);
	MemoryContext context;
	MemoryContext old_context;
	MbCatalog  *new;
	MbPlans    *plans;
	TierRow    *tiers;
	PriceRow   *prices;
	LimitRow   *limits;
	int			nlimits;

	for (int i = 0; i < NUM_CACHED_TABLES; i++)
	{
		relids[i] = OidIsValid(schema) ? get_relname_relid(table_names[i], schema) : InvalidOid;
		if (!OidIsValid(relids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"momento_billing\" is not installed in this database"),
					 errhint("CREATE EXTENSION momento_billing;")));
	}

	/* Belongs to the transaction until it is complete. */
	context = AllocSetContextCreate(CurTransactionContext, "mb catalog", ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	new = palloc0(sizeof(MbCatalog));
	new->customer_relid = relids[TABLE_CUSTOMER];
	new->subscription_relid = relids[TABLE_SUBSCRIPTION];
	new->inbox_relid = get_relname_relid("webhook_inbox", schema);
	new->history_relid = get_relname_relid("subscription_history", schema);
	new->other_access_relid = relids[TABLE_OTHER_ACCESS];
	new->usage_relid = relids[TABLE_USAGE];
	new->quota_grant_relid = relids[TABLE_QUOTA_GRANT];
	new->quota_reservation_relid = relids[TABLE_QUOTA_RESERVATION];
	new->quota_request_relid = relids[TABLE_QUOTA_REQUEST];
	prepare_probe(&new->customer_probe, new->customer_relid, 1, 1, true, InvalidOid);
	prepare_probe(&new->subscription_probe, new->subscription_relid, 1, 1, true, InvalidOid);
	prepare_probe(&new->subscription_user_probe, new->subscription_relid, 3, 1, false, InvalidOid);
	prepare_probe(&new->other_access_probe, new->other_access_relid, 1, 1, false, InvalidOid);
	prepare_probe(&new->usage_probe, new->usage_relid, 1, 3, true, InvalidOid);
	prepare_probe(&new->quota_grant_probe, new->quota_grant_relid, 2, 2, false, InvalidOid);
	prepare_probe(&new->quota_reservation_probe, new->quota_reservation_relid, 2, 2, false,
				  get_relname_relid("quota_reservation_held", schema));
	prepare_probe(&new->quota_request_probe, new->quota_request_relid, 1, 2, true, InvalidOid);
	plans = &new->plans;

	tiers = read_table(TABLE_TIER, sizeof(TierRow), &plans->ntiers, read_tier);
	qsort(tiers, plans->ntiers, sizeof(TierRow), tier_cmp);
	plans->tiers = palloc0((plans->ntiers + 1) * sizeof(MbTier));
	plans->default_tier = MB_NO_TIER;
	for (int i = 0; i < plans->ntiers; i++)
	{
		plans->tiers[i] = tiers[i].tier;
		if (tiers[i].is_default)
			plans->default_tier = i;
	}

	prices = read_table(TABLE_PRICE, sizeof(PriceRow), &plans->nprices, read_price);
	plans->prices = palloc0((plans->nprices + 1) * sizeof(MbPrice));
	for (int i = 0; i < plans->nprices; i++)
	{
		plans->prices[i] = prices[i].price;
		plans->prices[i].tier = mb_plans_find_tier(plans, prices[i].tier);
	}
	qsort(plans->prices, plans->nprices, sizeof(MbPrice), price_cmp);

	plans->features = read_table(TABLE_FEATURE, sizeof(MbFeature), &plans->nfeatures, read_feature);
	for (int i = 0; i < plans->nfeatures; i++)
	{
		plans->features[i].limits = palloc((plans->ntiers + 1) * sizeof(int64));
		for (int t = 0; t < plans->ntiers; t++)
			plans->features[i].limits[t] = MB_NOT_IN_PLAN;
	}
	limits = read_table(TABLE_PLAN_LIMIT, sizeof(LimitRow), &nlimits, read_limit);
	for (int i = 0; i < nlimits; i++)
	{
		int			feature = mb_plans_find_feature(plans, limits[i].feature);
		int			tier = mb_plans_find_tier(plans, limits[i].tier);

		if (feature >= 0 && tier != MB_NO_TIER)
			plans->features[feature].limits[tier] = limits[i].monthly_limit;
	}

	new->has_other_access = has_rows(TABLE_OTHER_ACCESS);
	new->has_quota_grants = has_rows(TABLE_QUOTA_GRANT);
	new->has_forgotten = has_rows(TABLE_FORGOTTEN);
	MemoryContextSwitchTo(old_context);

	/* Changed while it was read: the caller tries again. */
	if (loading != generation)
	{
		MemoryContextDelete(context);
		return;
	}

	if (catalog_context != NULL)
		MemoryContextSetParent(catalog_context, TopTransactionContext);
	MemoryContextSetParent(context, CacheMemoryContext);
	catalog_context = context;
	catalog = new;
	valid = true;
}

/*
 * All rows of a table as an array of structs of "size" bytes.  Without
 * read_row, only whether there is any row: count is 0 or 1.
 */
static void *
read_table(CachedTable table, size_t size, int *count,
		   void (*read_row) (void *row, TupleDesc desc, HeapTuple tuple))
{
	Relation	rel = table_open(relids[table], AccessShareLock);
	int			allocated = 16;
	char	   *rows = palloc(allocated * size + 1);
	SysScanDesc scan;
	HeapTuple	tuple;

	*count = 0;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		if (*count == allocated)
			rows = repalloc(rows, (allocated *= 2) * size);
		(*count)++;
		if (read_row == NULL)
			break;
		read_row(rows + (*count - 1) * size, RelationGetDescr(rel), tuple);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return rows;
}

static bool
has_rows(CachedTable table)
{
	int			count;

	read_table(table, 0, &count, NULL);
	return count > 0;
}

/* By columns that follow one another; see mb_probe_init(). */
static void
prepare_probe(MbProbe *probe, Oid relid, AttrNumber first, int ncolumns, bool unique, Oid partial)
{
	AttrNumber	columns[MB_PROBE_MAX_KEYS];
	Relation	rel = table_open(relid, AccessShareLock);

	for (int i = 0; i < ncolumns; i++)
		columns[i] = first + i;
	if (!mb_probe_init(probe, rel, columns, ncolumns, unique, partial))
		elog(ERROR, "table \"%s\" has lost an index", RelationGetRelationName(rel));
	table_close(rel, AccessShareLock);
}

static Datum
row_attr(TupleDesc desc, HeapTuple tuple, const char *name, bool *isnull)
{
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return heap_getattr(tuple, i + 1, desc, isnull);
	elog(ERROR, "column \"%s\" not found in the catalogue", name);
}

static MbText
row_text(TupleDesc desc, HeapTuple tuple, const char *name)
{
	bool		isnull;
	Datum		datum = row_attr(desc, tuple, name, &isnull);

	return isnull ? MB_NO_TEXT : mb_text(TextDatumGetCString(datum));
}

static void
read_tier(void *row, TupleDesc desc, HeapTuple tuple)
{
	TierRow    *tier = row;
	bool		isnull;

	tier->tier.name = row_text(desc, tuple, "tier");
	tier->tier.rank = DatumGetInt32(row_attr(desc, tuple, "rank", &isnull));
	tier->is_default = DatumGetBool(row_attr(desc, tuple, "is_default", &isnull));
}

static void
read_price(void *row, TupleDesc desc, HeapTuple tuple)
{
	PriceRow   *price = row;
	bool		isnull;

	price->price.price_id = row_text(desc, tuple, "price_id");
	price->price.billing_interval = row_text(desc, tuple, "billing_interval");
	price->price.active = DatumGetBool(row_attr(desc, tuple, "active", &isnull));
	price->tier = row_text(desc, tuple, "tier");
}

static void
read_feature(void *row, TupleDesc desc, HeapTuple tuple)
{
	((MbFeature *) row)->name = row_text(desc, tuple, "feature");
}

static void
read_limit(void *row, TupleDesc desc, HeapTuple tuple)
{
	LimitRow   *limit = row;
	bool		isnull;

	limit->tier = row_text(desc, tuple, "tier");
	limit->feature = row_text(desc, tuple, "feature");
	limit->monthly_limit = DatumGetInt64(row_attr(desc, tuple, "monthly_limit", &isnull));
	if (isnull)
		limit->monthly_limit = MB_UNLIMITED;
}

static int
tier_cmp(const void *a, const void *b)
{
	int			rank_a = ((const TierRow *) a)->tier.rank;
	int			rank_b = ((const TierRow *) b)->tier.rank;

	return (rank_a > rank_b) - (rank_a < rank_b);
}

static int
price_cmp(const void *a, const void *b)
{
	return mb_text_cmp(((const MbPrice *) a)->price_id, ((const MbPrice *) b)->price_id);
}
