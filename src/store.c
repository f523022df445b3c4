/*
 * store.c
 *	  Set-wise reading and writing of our own tables: what every batch reads
 *	  by probes, the rest through saved plans.
 *
 * Rows go in as one array of the table's row type.
 */
#include "postgres.h"

#include <stddef.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "catalog.h"
#include "direct.h"
#include "settings.h"
#include "spi.h"
#include "store.h"
#include "subscription_row.h"

typedef enum PlanId
{
	PLAN_ADD_CUSTOMERS,
	PLAN_LOCK_CUSTOMERS,
	PLAN_CUSTOMERS_OF_USERS,
	PLAN_SAVE_CUSTOMERS,
	PLAN_SUBSCRIPTIONS_OF_CUSTOMERS,
	PLAN_INSERT_SUBSCRIPTIONS,
	PLAN_UPDATE_SUBSCRIPTIONS,
	PLAN_LOCK_FREE_CUSTOMERS,
	PLAN_LOCK_FREE_SUBSCRIPTIONS,
	PLAN_READ_OTHER_ACCESS,
	PLAN_DELETE_OTHER_ACCESS,
	PLAN_INSERT_OTHER_ACCESS,
	PLAN_END_WAITING,
	PLAN_KNOWN_SUBSCRIPTIONS,
	PLAN_ADD_HISTORY,
	PLAN_USERS_DUE,
	PLAN_REMOVE_PAST_GRANTS,
	PLAN_PUT_OFF_USER,
	PLAN_USERS_WITH_OTHER_ACCESS,
	NUM_PLANS
} PlanId;

static SPIPlanPtr plans[NUM_PLANS];
static Oid	plans_relid = InvalidOid;	/* of stripe_subscription, in the
										 * plans */

static bool update_directly(const MbSubscription *const *subscriptions, const ItemPointerData *tids, int count);
static MbProbeRow *probe_now(Relation rel, const MbProbe *probe, const MbText *keys, int nkeys, bool lock, int *count);
static MbProbeRow *probe_seen(Relation rel, const MbProbe *probe, const MbText *keys, int nkeys, bool lock, int *count);
static Datum *text_datums(const MbText *texts, int count);
static MbCustomer read_customer(HeapTuple tuple, TupleDesc desc);
static MbSubscription *read_subscriptions(const MbProbeRow *rows, int count, TupleDesc desc);
static MbCustomer *fetched_customers(int *count);
static MbText *found_ids(PlanId plan, const char *sql, const MbText *ids, int nids, int *count);
static MbText *fetched_ids(int *count);
static MbLocked *lock_free(PlanId plan, const char *sql, const MbText *ids, int nids, int *count);
static MbTime get_time(HeapTuple tuple, TupleDesc desc, int attno);
static Datum time_array(const MbOtherAccess *access, int count, size_t offset);
static Datum text_array_of(const void *structs, size_t size, int count, size_t offset);

void
mb_store_begin(void)
{
	Oid			relid = mb_catalog_get()->subscription_relid;

	if (relid == plans_relid)
		return;
	for (int i = 0; i < NUM_PLANS; i++)
	{
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
		plans[i] = NULL;
	}
	plans_relid = relid;
}

MbCustomer *
mb_store_read_customers(const MbText *ids, int nids, int *count)
{
	const MbCatalog *catalog = mb_catalog_get();
	Relation	rel = table_open(catalog->customer_relid, AccessShareLock);
	MbProbeRow *rows = probe_now(rel, &catalog->customer_probe, ids, nids, false, count);
	MbCustomer *result = palloc(Max(*count, 1) * sizeof(MbCustomer));

	for (int i = 0; i < *count; i++)
		result[i] = read_customer(rows[i].tuple, RelationGetDescr(rel));
	table_close(rel, NoLock);
	return result;
}

MbCustomer *
mb_store_lock_customers(const MbText *ids, int nids, int *count)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(ids, nids)};

	mb_spi_run(&plans[PLAN_ADD_CUSTOMERS],
			   "INSERT INTO momento_billing.stripe_customer (customer_id)"
			   " SELECT n.id FROM pg_catalog.unnest($1) AS n (id) ON CONFLICT (customer_id) DO NOTHING",
			   1, types, args, SPI_OK_INSERT);

	/*
	 * Not a mere lock: a new version of the row fails a repeatable-read
	 * transaction with an older snapshot, which could not see what this one
	 * does to the customer's subscriptions.  The ids are scanned in order.
	 */
	mb_spi_run(&plans[PLAN_LOCK_CUSTOMERS],
			   "UPDATE momento_billing.stripe_customer SET customer_id = customer_id"
			   " WHERE customer_id OPERATOR(pg_catalog.=) ANY ($1)"
			   " RETURNING customer_id, user_id, link_source, link_created, deleted",
			   1, types, args, SPI_OK_UPDATE_RETURNING);
	return fetched_customers(count);
}

/* Under the latest snapshot, as the users' subscriptions below. */
MbCustomer *
mb_store_customers_of_users(const MbText *users, int nusers, int *count)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(users, nusers)};
	MbCustomer *result;

	if (plans[PLAN_CUSTOMERS_OF_USERS] == NULL)
		plans[PLAN_CUSTOMERS_OF_USERS] =
			mb_spi_prepare("SELECT customer_id, user_id, link_source, link_created, deleted"
						   " FROM momento_billing.stripe_customer"
						   " WHERE user_id OPERATOR(pg_catalog.=) ANY ($1)", 1, types);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	mb_spi_execute(plans[PLAN_CUSTOMERS_OF_USERS], args, true, SPI_OK_SELECT);
	result = fetched_customers(count);
	PopActiveSnapshot();
	return result;
}

void
mb_store_save_customers(const MbCustomer *customers, int count)
{
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID};
	Datum		args[5];
	MbText	   *sources;
	Datum	   *times;
	Datum	   *deleted;

	if (count == 0)
		return;
	sources = palloc(count * sizeof(MbText));
	times = palloc(count * sizeof(Datum));
	deleted = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
	{
		sources[i] = mb_text(mb_link_source_label(customers[i].source));
		times[i] = TimestampTzGetDatum(customers[i].created);
		deleted[i] = BoolGetDatum(customers[i].deleted);
	}
	args[0] = text_array_of(customers, sizeof(MbCustomer), count, offsetof(MbCustomer, customer_id));
	args[1] = text_array_of(customers, sizeof(MbCustomer), count, offsetof(MbCustomer, user_id));
	args[2] = mb_spi_text_array(sources, count);
	args[3] = mb_spi_array(times, count, TIMESTAMPTZOID);
	args[4] = mb_spi_array(deleted, count, BOOLOID);
	mb_spi_run(&plans[PLAN_SAVE_CUSTOMERS],
			   "UPDATE momento_billing.stripe_customer AS c"
			   " SET user_id = n.user_id, link_source = n.link_source,"
			   " link_created = CASE WHEN n.user_id IS NOT NULL THEN n.link_created END, deleted = n.deleted"
			   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
			   " pg_catalog.unnest($5))"
			   " AS n (customer_id, user_id, link_source, link_created, deleted)"
			   " WHERE c.customer_id OPERATOR(pg_catalog.=) n.customer_id",
			   5, types, args, SPI_OK_UPDATE);
}

MbText *
mb_store_known_subscriptions(const MbText *ids, int nids, int *count)
{
	return found_ids(PLAN_KNOWN_SUBSCRIPTIONS,
					 "SELECT subscription_id FROM momento_billing.stripe_subscription"
					 " WHERE subscription_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY subscription_id",
					 ids, nids, count);
}

MbSubscription *
mb_store_read_subscriptions(const MbText *ids, int nids, bool lock, MbPlace **places, int *count)
{
	const MbCatalog *catalog = mb_catalog_get();
	Relation	rel = table_open(catalog->subscription_relid, RowShareLock);
	MbProbeRow *rows = probe_now(rel, &catalog->subscription_probe, ids, nids, lock, count);
	MbSubscription *result = read_subscriptions(rows, *count, RelationGetDescr(rel));

	*places = palloc(Max(*count, 1) * sizeof(MbPlace));
	for (int i = 0; i < *count; i++)
		(*places)[i] = (MbPlace)
	{
		rows[i].tuple->t_self, rows[i].root
	};
	table_close(rel, NoLock);
	return result;
}

MbText *
mb_store_subscriptions_of_customers(const MbText *customers, int ncustomers, int *count)
{
	return found_ids(PLAN_SUBSCRIPTIONS_OF_CUSTOMERS,
					 "SELECT subscription_id FROM momento_billing.stripe_subscription"
					 " WHERE customer_id OPERATOR(pg_catalog.=) ANY ($1)",
					 customers, ncustomers, count);
}

/*
 * Under the latest snapshot, whatever the transaction's isolation: the row
 * locks on the users make this the current truth, and a repeatable-read
 * caller must not derive from an older one.
 */
MbSubscription *
mb_store_subscriptions_of_users(const MbText *users, int nusers, int *count)
{
	MbSubscription *result;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	result = mb_store_subscriptions_seen(users, nusers, count);
	PopActiveSnapshot();
	return result;
}

MbSubscription *
mb_store_subscriptions_seen(const MbText *users, int nusers, int *count)
{
	const MbCatalog *catalog = mb_catalog_get();
	Relation	rel = table_open(catalog->subscription_relid, AccessShareLock);
	MbProbeRow *rows = probe_seen(rel, &catalog->subscription_user_probe, users, nusers, false, count);
	MbSubscription *result = read_subscriptions(rows, *count, RelationGetDescr(rel));

	table_close(rel, NoLock);
	return result;
}

void
mb_store_have_only(const MbText *users, const ItemPointerData *roots, int nusers, bool *only)
{
	const MbCatalog *catalog = mb_catalog_get();
	Relation	rel = table_open(catalog->subscription_relid, AccessShareLock);

	PushActiveSnapshot(GetLatestSnapshot());
	mb_probe_only(&catalog->subscription_user_probe, rel, text_datums(users, nusers), roots, nusers, only);
	PopActiveSnapshot();
	table_close(rel, NoLock);
}

void
mb_store_insert_subscriptions(const MbSubscription *const *subscriptions, int count)
{
	Oid			row_type = get_rel_type_id(plans_relid);
	Oid			types[] = {get_array_type(row_type)};
	Datum		args[1];
	char	   *sql = NULL;

	if (count == 0)
		return;
	args[0] = mb_subscription_row_array(row_type, subscriptions, count);
	if (plans[PLAN_INSERT_SUBSCRIPTIONS] == NULL)
		sql = psprintf("INSERT INTO momento_billing.stripe_subscription (%s) SELECT %s FROM pg_catalog.unnest($1) AS n"
					   " ON CONFLICT (subscription_id) DO NOTHING",
					   mb_subscription_row_columns(""), mb_subscription_row_columns("n."));
	mb_spi_run(&plans[PLAN_INSERT_SUBSCRIPTIONS], sql, 1, types, args, SPI_OK_INSERT);
	if (SPI_processed != (uint64) count)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a subscription was created concurrently"),
				 errhint("Retry the transaction.")));
}

void
mb_store_update_subscriptions(const MbSubscription *const *subscriptions, const ItemPointerData *tids, int count)
{
	Oid			row_type = get_rel_type_id(plans_relid);
	Oid			types[] = {get_array_type(row_type), TIDARRAYOID};
	Datum		args[2];
	Datum	   *places;
	char	   *sql = NULL;

	if (count == 0 || update_directly(subscriptions, tids, count))
		return;
	places = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
		places[i] = PointerGetDatum(&tids[i]);
	args[0] = mb_subscription_row_array(row_type, subscriptions, count);
	args[1] = mb_spi_array(places, count, TIDOID);
	if (plans[PLAN_UPDATE_SUBSCRIPTIONS] == NULL)
		sql = psprintf("UPDATE momento_billing.stripe_subscription AS s SET %s"
					   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS n"
					   " WHERE s.ctid OPERATOR(pg_catalog.=) n.unnest", mb_subscription_row_assignments());
	mb_spi_run(&plans[PLAN_UPDATE_SUBSCRIPTIONS], sql, 2, types, args, SPI_OK_UPDATE);
	if (SPI_processed != (uint64) count)
		elog(ERROR, "updated " UINT64_FORMAT " subscriptions instead of %d", SPI_processed, count);
}

bool
mb_store_updates_subscriptions_directly(void)
{
	Relation	rel = table_open(plans_relid, RowExclusiveLock);
	bool		result = !mb_force_spi && mb_direct_is_possible(rel);

	table_close(rel, NoLock);
	return result;
}

MbLocked *
mb_store_lock_free_customers(const MbText *ids, int nids, int *count)
{
	return lock_free(PLAN_LOCK_FREE_CUSTOMERS,
					 "WITH free AS MATERIALIZED (SELECT customer_id FROM momento_billing.stripe_customer"
					 " WHERE customer_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY customer_id FOR NO KEY UPDATE SKIP LOCKED)"
					 " SELECT c.customer_id, c.user_id, f.customer_id IS NULL FROM momento_billing.stripe_customer AS c"
					 " LEFT JOIN free AS f ON f.customer_id OPERATOR(pg_catalog.=) c.customer_id"
					 " WHERE c.customer_id OPERATOR(pg_catalog.=) ANY ($1)",
					 ids, nids, count);
}

MbLocked *
mb_store_lock_free_subscriptions(const MbText *ids, int nids, int *count)
{
	return lock_free(PLAN_LOCK_FREE_SUBSCRIPTIONS,
					 "WITH free AS MATERIALIZED (SELECT subscription_id FROM momento_billing.stripe_subscription"
					 " WHERE subscription_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY subscription_id FOR NO KEY UPDATE SKIP LOCKED)"
					 " SELECT s.subscription_id, s.user_id, f.subscription_id IS NULL FROM momento_billing.stripe_subscription AS s"
					 " LEFT JOIN free AS f ON f.subscription_id OPERATOR(pg_catalog.=) s.subscription_id"
					 " WHERE s.subscription_id OPERATOR(pg_catalog.=) ANY ($1)",
					 ids, nids, count);
}

MbOtherAccess *
mb_store_other_access(const MbText *users, int nusers, int *count)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(users, nusers)};
	MbOtherAccess *result;

	mb_spi_run(&plans[PLAN_READ_OTHER_ACCESS],
			   "SELECT user_id, source, ref, tier, valid_from, valid_until FROM momento_billing.other_access"
			   " WHERE user_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY user_id, source, ref",
			   1, types, args, SPI_OK_SELECT);
	*count = (int) SPI_processed;
	result = palloc(Max(*count, 1) * sizeof(MbOtherAccess));
	for (int i = 0; i < *count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		result[i] = (MbOtherAccess)
		{
			.user_id = mb_spi_get_text(tuple, desc, 1),
			.source = mb_spi_get_text(tuple, desc, 2),
			.ref = mb_spi_get_text(tuple, desc, 3),
			.tier = mb_spi_get_text(tuple, desc, 4),
			.valid_from = get_time(tuple, desc, 5),
			.valid_until = get_time(tuple, desc, 6),
		};
	}
	return result;
}

void
mb_store_replace_other_access(const MbText *users, int nusers, const MbOtherAccess *access, int count)
{
	Oid			delete_types[] = {TEXTARRAYOID};
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID};
	Datum		args[6] = {mb_spi_text_array(users, nusers)};

	mb_spi_run(&plans[PLAN_DELETE_OTHER_ACCESS],
			   "DELETE FROM momento_billing.other_access"
			   " WHERE user_id OPERATOR(pg_catalog.=) ANY ($1) AND source OPERATOR(pg_catalog.=) 'subscription'",
			   1, delete_types, args, SPI_OK_DELETE);
	if (count == 0)
		return;
	args[0] = text_array_of(access, sizeof(MbOtherAccess), count, offsetof(MbOtherAccess, user_id));
	args[1] = text_array_of(access, sizeof(MbOtherAccess), count, offsetof(MbOtherAccess, source));
	args[2] = text_array_of(access, sizeof(MbOtherAccess), count, offsetof(MbOtherAccess, ref));
	args[3] = text_array_of(access, sizeof(MbOtherAccess), count, offsetof(MbOtherAccess, tier));
	args[4] = time_array(access, count, offsetof(MbOtherAccess, valid_from));
	args[5] = time_array(access, count, offsetof(MbOtherAccess, valid_until));
	mb_spi_run(&plans[PLAN_INSERT_OTHER_ACCESS],
			   "INSERT INTO momento_billing.other_access (user_id, source, ref, tier, valid_from, valid_until)"
			   " SELECT n.a, n.b, n.c, n.d, CASE WHEN pg_catalog.isfinite(n.e) THEN n.e END, CASE WHEN pg_catalog.isfinite(n.f) THEN n.f END"
			   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
			   " pg_catalog.unnest($5), pg_catalog.unnest($6)) AS n (a, b, c, d, e, f)",
			   6, types, args, SPI_OK_INSERT);
}

MbText *
mb_store_users_due(MbText after, int limit, int *count)
{
	Oid			types[] = {TEXTOID, INT4OID};
	Datum		args[] = {mb_spi_text_datum(after), Int32GetDatum(limit)};

	mb_spi_run(&plans[PLAN_USERS_DUE],
			   "SELECT DISTINCT user_id FROM momento_billing.other_access"
			   " WHERE source OPERATOR(pg_catalog.=) 'subscription'"
			   " AND valid_until OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
			   " AND user_id OPERATOR(pg_catalog.>) $1 ORDER BY user_id LIMIT $2",
			   2, types, args, SPI_OK_SELECT);
	return fetched_ids(count);
}

void
mb_store_put_off_user(MbText user_id, MbText tier, MbTime until)
{
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum		args[] = {mb_spi_text_datum(user_id), mb_spi_text_datum(tier), TimestampTzGetDatum(until)};

	mb_spi_run(&plans[PLAN_PUT_OFF_USER],
			   "WITH past AS (DELETE FROM momento_billing.other_access WHERE user_id OPERATOR(pg_catalog.=) $1"
			   " AND source OPERATOR(pg_catalog.=) 'subscription' AND ref OPERATOR(pg_catalog.<>) 'retry'"
			   " AND valid_until OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp())"
			   " INSERT INTO momento_billing.other_access (user_id, source, ref, tier, valid_until)"
			   " VALUES ($1, 'subscription', 'retry', $2, $3)"
			   " ON CONFLICT (user_id, source, ref) DO UPDATE SET valid_until = EXCLUDED.valid_until",
			   3, types, args, SPI_OK_INSERT);
}

void
mb_store_remove_past_grants(void)
{
	mb_spi_run(&plans[PLAN_REMOVE_PAST_GRANTS],
			   "WITH past AS MATERIALIZED (SELECT user_id, ref FROM momento_billing.other_access"
			   " WHERE source OPERATOR(pg_catalog.=) 'tier_grant'"
			   " AND valid_until OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() FOR UPDATE SKIP LOCKED)"
			   " DELETE FROM momento_billing.other_access AS a USING past AS p"
			   " WHERE a.user_id OPERATOR(pg_catalog.=) p.user_id AND a.source OPERATOR(pg_catalog.=) 'tier_grant'"
			   " AND a.ref OPERATOR(pg_catalog.=) p.ref",
			   0, NULL, NULL, SPI_OK_DELETE);
}

MbText *
mb_store_users_with_other_access(int *count)
{
	if (plans[PLAN_USERS_WITH_OTHER_ACCESS] == NULL)
		plans[PLAN_USERS_WITH_OTHER_ACCESS] =
			mb_spi_prepare("SELECT DISTINCT user_id FROM momento_billing.other_access ORDER BY user_id", 0, NULL);
	mb_spi_execute(plans[PLAN_USERS_WITH_OTHER_ACCESS], NULL, true, SPI_OK_SELECT);
	return fetched_ids(count);
}

void
mb_store_add_history(const MbHistory *changes, int count)
{
	Oid			row_type = get_rel_type_id(mb_catalog_get()->history_relid);
	Oid			types[] = {get_array_type(row_type)};
	Datum		args[1];
	Datum	   *rows;
	TupleDesc	desc;

	if (count == 0)
		return;
	desc = lookup_rowtype_tupdesc(row_type, -1);
	rows = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
	{
		/*
		 * user_id, id, changed_at, event_id, old_tier, new_tier, old_status,
		 * new_status
		 */
		const MbText *texts[] = {
			&changes[i].user_id, NULL, NULL, &changes[i].event_id,
			&changes[i].old_tier, &changes[i].new_tier, &changes[i].old_status, &changes[i].new_status
		};
		Datum		values[lengthof(texts)];
		bool		nulls[lengthof(texts)];

		for (int c = 0; c < (int) lengthof(texts); c++)
		{
			nulls[c] = texts[c] == NULL || texts[c]->data == NULL;
			values[c] = nulls[c] ? (Datum) 0 : mb_spi_text_datum(*texts[c]);
		}
		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	args[0] = mb_spi_array(rows, count, row_type);
	mb_spi_run(&plans[PLAN_ADD_HISTORY],
			   "INSERT INTO momento_billing.subscription_history"
			   " (user_id, event_id, old_tier, new_tier, old_status, new_status)"
			   " SELECT n.user_id, n.event_id, n.old_tier, n.new_tier, n.old_status, n.new_status"
			   " FROM pg_catalog.unnest($1) AS n",
			   1, types, args, SPI_OK_INSERT);
}

uint64
mb_store_end_waiting(const MbText *customers, int count)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(customers, count)};

	mb_spi_run(&plans[PLAN_END_WAITING],
			   "UPDATE momento_billing.webhook_inbox"
			   " SET status = 'processed', reason = NULL, waiting_for = NULL, next_attempt_at = NULL,"
			   " processed_at = pg_catalog.clock_timestamp()"
			   " WHERE waiting_for OPERATOR(pg_catalog.=) ANY ($1) AND status OPERATOR(pg_catalog.=) 'waiting'",
			   1, types, args, SPI_OK_UPDATE);
	return SPI_processed;
}

static bool
update_directly(const MbSubscription *const *subscriptions, const ItemPointerData *tids, int count)
{
	Relation	rel;
	MbDirect	direct;

	if (!mb_store_updates_subscriptions_directly())
		return false;
	rel = table_open(plans_relid, RowExclusiveLock);
	mb_direct_begin(&direct, rel);
	for (int i = 0; i < count; i++)
	{
		mb_subscription_row_values(subscriptions[i], direct.slot->tts_values, direct.slot->tts_isnull);
		if (!mb_direct_update(&direct, &tids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("a subscription was changed concurrently"),
					 errhint("Retry the transaction.")));
	}
	mb_direct_end(&direct);
	table_close(rel, NoLock);
	return true;
}

/*
 * Rows by a text column, under a snapshot of its own, as a statement's, or
 * locked.
 */
static MbProbeRow *
probe_now(Relation rel, const MbProbe *probe, const MbText *keys, int nkeys, bool lock, int *count)
{
	MbProbeRow *rows;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	rows = probe_seen(rel, probe, keys, nkeys, lock, count);
	PopActiveSnapshot();
	return rows;
}

/* The same under the active snapshot. */
static MbProbeRow *
probe_seen(Relation rel, const MbProbe *probe, const MbText *keys, int nkeys, bool lock, int *count)
{
	return mb_probe_rows(probe, rel, text_datums(keys, nkeys), nkeys, lock, count);
}

static Datum *
text_datums(const MbText *texts, int count)
{
	Datum	   *datums = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
		datums[i] = mb_spi_text_datum(texts[i]);
	return datums;
}

static MbSubscription *
read_subscriptions(const MbProbeRow *rows, int count, TupleDesc desc)
{
	MbSubscription *result = palloc(Max(count, 1) * sizeof(MbSubscription));

	for (int i = 0; i < count; i++)
		mb_subscription_row_read(rows[i].tuple, desc, &result[i]);
	return result;
}

static MbCustomer *
fetched_customers(int *count)
{
	MbCustomer *result = palloc(Max(SPI_processed, 1) * sizeof(MbCustomer));

	*count = (int) SPI_processed;
	for (int i = 0; i < *count; i++)
		result[i] = read_customer(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	return result;
}

/* The table's columns, in its order. */
static MbCustomer
read_customer(HeapTuple tuple, TupleDesc desc)
{
	Datum		values[5];
	bool		nulls[5];

	if (desc->natts != lengthof(values))
		elog(ERROR, "stripe_customer has %d columns instead of %d", desc->natts, (int) lengthof(values));
	heap_deform_tuple(tuple, desc, values, nulls);
	return (MbCustomer)
	{
		.customer_id = mb_spi_text(values[0], nulls[0]),
		.user_id = mb_spi_text(values[1], nulls[1]),
		.source = mb_link_source_from_label(mb_spi_text(values[2], nulls[2])),
		.created = nulls[3] ? MB_NO_TIME : DatumGetTimestampTz(values[3]),
		.deleted = DatumGetBool(values[4]),
	};
}

static MbText *
found_ids(PlanId plan, const char *sql, const MbText *ids, int nids, int *count)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(ids, nids)};

	mb_spi_run(&plans[plan], sql, 1, types, args, SPI_OK_SELECT);
	return fetched_ids(count);
}

static MbText *
fetched_ids(int *count)
{
	MbText	   *result = palloc(Max(SPI_processed, 1) * sizeof(MbText));

	*count = (int) SPI_processed;
	for (int i = 0; i < *count; i++)
		result[i] = mb_spi_get_text(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	return result;
}

static MbLocked *
lock_free(PlanId plan, const char *sql, const MbText *ids, int nids, int *count)
{
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[] = {mb_spi_text_array(ids, nids)};
	MbLocked   *result;

	mb_spi_run(&plans[plan], sql, 1, types, args, SPI_OK_SELECT);
	*count = (int) SPI_processed;
	result = palloc(Max(*count, 1) * sizeof(MbLocked));
	for (int i = 0; i < *count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		result[i].id = mb_spi_get_text(tuple, desc, 1);
		result[i].user_id = mb_spi_get_text(tuple, desc, 2);
		result[i].busy = DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	return result;
}

static MbTime
get_time(HeapTuple tuple, TupleDesc desc, int attno)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, attno, desc, &isnull);

	return isnull ? MB_NO_TIME : DatumGetTimestampTz(datum);
}

/* MB_NO_TIME goes in as -infinity, which the statement makes NULL. */
static Datum
time_array(const MbOtherAccess *access, int count, size_t offset)
{
	Datum	   *elements = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		elements[i] = TimestampTzGetDatum(*(const MbTime *) ((const char *) &access[i] + offset));
	return mb_spi_array(elements, count, TIMESTAMPTZOID);
}

static Datum
text_array_of(const void *structs, size_t size, int count, size_t offset)
{
	MbText	   *texts = palloc(Max(count, 1) * sizeof(MbText));

	for (int i = 0; i < count; i++)
		texts[i] = *(const MbText *) ((const char *) structs + i * size + offset);
	return mb_spi_text_array(texts, count);
}
