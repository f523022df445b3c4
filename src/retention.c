/*
 * retention.c
 *	  Removing what is too old: events, usage, and what goes with it.
 *
 * Large tables are walked along their key, a part at a time: an index on the
 * time would cost every insert and update.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "event.h"
#include "json_jsonb.h"
#include "retention.h"
#include "settings.h"
#include "spi.h"

/* Rows removed in one transaction, and rows of a walk looked at in one. */
#define REMOVE_ROWS "1000"
#define WALK_ROWS "2000"

/* Events looked at in one, payloads and all. */
#define WALK_EVENTS "200"

/* A month that began so lately may still run. */
#define LONGEST_MONTH (32 * USECS_PER_DAY)

static bool remove_events(void);
static bool remove_usage(void);
static bool remove_requests(void);
static bool remove_crossings(void);
static bool remove_reservations(void);
static bool remove_rows(SPIPlanPtr *plan, const char *sql, int expected);
static TimestampTz usage_limit(void);

bool
mb_retention_step(void)
{
	/* each removes a part; true if there may be more */
	static bool (*const tables[]) (void) =
	{
		remove_events, remove_usage, remove_requests, remove_crossings, remove_reservations
	};
	static int	next = 0;
	int			table = next;

	if (table == lengthof(tables))
	{
		next = 0;
		return true;
	}
	next = table + 1;
	if (tables[table] ())
		next = table;
	return false;
}

/*
 * Events are kept that a subscription's registers name, or that have a price
 * which is not known: they are read again when a price is added or changed, and
 * when another event ties with them.  Ids are given out in the order of time,
 * nearly; the walk ends at a part in which nothing is old enough.
 */
static bool
remove_events(void)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_delete = NULL;
	static int64 position = PG_INT64_MIN;
	Oid			types[] = {INT8OID, TIMESTAMPTZOID};
	Oid			delete_types[] = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		args[3];
	Datum	   *ids;
	MbText	   *events;
	MbText	   *subscriptions;
	int			n = 0;
	bool		isnull;

	args[0] = Int64GetDatum(position);
	args[1] = TimestampTzGetDatum(GetCurrentTimestamp() - mb_inbox_retention * USECS_PER_SEC);
	mb_spi_run(&plan,
			   "WITH part AS MATERIALIZED (SELECT id, received_at FROM momento_billing.webhook_inbox"
			   " WHERE id OPERATOR(pg_catalog.>) $1 ORDER BY id LIMIT " WALK_EVENTS ")"
			   " SELECT i.id, i.event_id, i.payload, (SELECT pg_catalog.max(p.id) FROM part AS p)"
			   " FROM (SELECT) AS one LEFT JOIN momento_billing.webhook_inbox AS i"
			   " ON i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.id FROM part AS p WHERE p.received_at OPERATOR(pg_catalog.<) $2))"
			   " AND i.status OPERATOR(pg_catalog.=) ANY ('{processed,ignored}') AND i.processed_at OPERATOR(pg_catalog.<) $2"
			   " WHERE EXISTS (SELECT FROM part AS p WHERE p.received_at OPERATOR(pg_catalog.<) $2)",
			   2, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
	{
		position = PG_INT64_MIN;
		return false;
	}
	position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	ids = palloc(SPI_processed * sizeof(Datum));
	events = palloc(SPI_processed * sizeof(MbText));
	subscriptions = palloc(SPI_processed * sizeof(MbText));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MbEvent		event = {.kind = MB_EVENT_IGNORED};
		Datum		payload;

		ids[n] = SPI_getbinval(tuple, desc, 1, &isnull);
		if (isnull)
			continue;
		payload = SPI_getbinval(tuple, desc, 3, &isnull);
		if (!isnull)
			mb_event_read(mb_json_from_jsonb(DatumGetJsonbP(payload)), &mb_catalog_get()->plans, MB_LIVEMODE_ANY, &event);
		if (event.kind == MB_EVENT_SUBSCRIPTION && event.tier == MB_NO_TIER && event.price_id.data != NULL)
			continue;
		events[n] = mb_spi_get_text(tuple, desc, 2);
		subscriptions[n++] = event.kind == MB_EVENT_IGNORED ? MB_NO_TEXT : event.subscription_id;
	}
	args[0] = mb_spi_array(ids, n, INT8OID);
	args[1] = mb_spi_text_array(events, n);
	args[2] = mb_spi_text_array(subscriptions, n);
	mb_spi_run(&plan_delete,
			   "WITH old AS MATERIALIZED (SELECT n.id, n.event_id, n.subscription_id"
			   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS n (id, event_id, subscription_id)),"
			   " needed AS MATERIALIZED (SELECT o.id FROM old AS o JOIN momento_billing.stripe_subscription AS s"
			   " ON s.subscription_id OPERATOR(pg_catalog.=) o.subscription_id"
			   " WHERE o.event_id OPERATOR(pg_catalog.=) ANY (ARRAY[s.state_event, s.tier_event, s.period_event, s.live_event,"
			   " s.fell_event, s.failed_event])"
			   " OR s.tie_events OPERATOR(pg_catalog.@>) pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('id', o.event_id))),"
			   " free AS MATERIALIZED (SELECT i.id FROM momento_billing.webhook_inbox AS i"
			   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT o.id FROM old AS o EXCEPT SELECT n.id FROM needed AS n))"
			   " AND i.status OPERATOR(pg_catalog.=) ANY ('{processed,ignored}') FOR UPDATE SKIP LOCKED)"
			   " DELETE FROM momento_billing.webhook_inbox AS i"
			   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.id FROM free AS f))",
			   3, delete_types, args, SPI_OK_DELETE);
	return true;
}

/* A walk through the counters. */
static bool
remove_usage(void)
{
	static SPIPlanPtr plan = NULL;
	static char *user_id = NULL;	/* where it is; NULL: at the beginning */
	static char *feature = NULL;
	static TimestampTz period_start = DT_NOBEGIN;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		args[4];
	HeapTuple	last;
	TupleDesc	desc;
	bool		isnull;

	args[0] = CStringGetTextDatum(user_id != NULL ? user_id : "");
	args[1] = CStringGetTextDatum(feature != NULL ? feature : "");
	args[2] = TimestampTzGetDatum(period_start);
	args[3] = TimestampTzGetDatum(usage_limit());
	mb_spi_run(&plan,
			   "WITH part AS MATERIALIZED (SELECT user_id, feature, period_start FROM momento_billing.usage"
			   " WHERE ROW(user_id, feature, period_start) OPERATOR(pg_catalog.>) ROW($1, $2, $3)"
			   " ORDER BY user_id, feature, period_start LIMIT " WALK_ROWS "),"
			   " old AS MATERIALIZED (SELECT u.user_id, u.feature, u.period_start FROM part AS p"
			   " JOIN momento_billing.usage AS u ON u.user_id OPERATOR(pg_catalog.=) p.user_id"
			   " AND u.feature OPERATOR(pg_catalog.=) p.feature AND u.period_start OPERATOR(pg_catalog.=) p.period_start"
			   " WHERE p.period_start OPERATOR(pg_catalog.<) $4 FOR UPDATE OF u SKIP LOCKED),"
			   " gone AS (DELETE FROM momento_billing.usage AS u USING old AS o"
			   " WHERE u.user_id OPERATOR(pg_catalog.=) o.user_id AND u.feature OPERATOR(pg_catalog.=) o.feature"
			   " AND u.period_start OPERATOR(pg_catalog.=) o.period_start)"
			   " SELECT user_id, feature, period_start FROM part ORDER BY user_id DESC, feature DESC, period_start DESC LIMIT 1",
			   4, types, args, SPI_OK_SELECT);
	if (user_id != NULL)
		pfree(user_id);
	if (feature != NULL)
		pfree(feature);
	user_id = feature = NULL;
	period_start = DT_NOBEGIN;
	if (SPI_processed == 0)
		return false;
	last = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	user_id = MemoryContextStrdup(TopMemoryContext, SPI_getvalue(last, desc, 1));
	feature = MemoryContextStrdup(TopMemoryContext, SPI_getvalue(last, desc, 2));
	period_start = DatumGetTimestampTz(SPI_getbinval(last, desc, 3, &isnull));
	return true;
}

static bool
remove_requests(void)
{
	static SPIPlanPtr plan = NULL;

	return remove_rows(&plan,
					   "DELETE FROM momento_billing.quota_request AS r USING ("
					   "SELECT user_id, idempotency_key FROM momento_billing.quota_request"
					   " WHERE created_at OPERATOR(pg_catalog.<) $1 ORDER BY created_at LIMIT " REMOVE_ROWS
					   " FOR UPDATE SKIP LOCKED) AS o"
					   " WHERE r.user_id OPERATOR(pg_catalog.=) o.user_id AND r.idempotency_key OPERATOR(pg_catalog.=) o.idempotency_key",
					   SPI_OK_DELETE);
}

static bool
remove_crossings(void)
{
	static SPIPlanPtr plan = NULL;

	return remove_rows(&plan,
					   "DELETE FROM momento_billing.quota_crossing AS c USING ("
					   "SELECT user_id, feature, period_start, percent FROM momento_billing.quota_crossing"
					   " WHERE period_start OPERATOR(pg_catalog.<) $1 ORDER BY period_start LIMIT " REMOVE_ROWS
					   " FOR UPDATE SKIP LOCKED) AS o"
					   " WHERE c.user_id OPERATOR(pg_catalog.=) o.user_id AND c.feature OPERATOR(pg_catalog.=) o.feature"
					   " AND c.period_start OPERATOR(pg_catalog.=) o.period_start AND c.percent OPERATOR(pg_catalog.=) o.percent",
					   SPI_OK_DELETE);
}

/*
 * A reservation that was never settled goes with the period's row that counts
 * it as held; what it has taken off grants is given back, unless somebody has
 * locked one of them.  Reservations are made, and are over, in the order of
 * their ids.
 */
static bool
remove_reservations(void)
{
	static SPIPlanPtr plan = NULL;

	return remove_rows(&plan,
					   "WITH oldest AS MATERIALIZED (SELECT id, expires_at FROM momento_billing.quota_reservation ORDER BY id LIMIT " REMOVE_ROWS "),"
					   " free AS MATERIALIZED (SELECT r.id, r.state, r.grant_ids FROM momento_billing.quota_reservation AS r"
					   " WHERE r.id OPERATOR(pg_catalog.=) ANY (ARRAY("
					   "SELECT o.id FROM oldest AS o WHERE o.expires_at OPERATOR(pg_catalog.<) $1)) FOR UPDATE SKIP LOCKED),"
					   " owed AS MATERIALIZED (SELECT DISTINCT n.id FROM free AS f, pg_catalog.unnest(f.grant_ids) AS n (id)"
					   " WHERE f.state OPERATOR(pg_catalog.=) 'held'),"
					   " ready AS MATERIALIZED (SELECT q.id FROM momento_billing.quota_grant AS q"
					   " WHERE q.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT o.id FROM owed AS o)) FOR UPDATE SKIP LOCKED),"
					   " gone AS (DELETE FROM momento_billing.quota_reservation AS r USING free AS f"
					   " WHERE r.id OPERATOR(pg_catalog.=) f.id AND (f.state OPERATOR(pg_catalog.<>) 'held' OR NOT EXISTS ("
					   "SELECT FROM momento_billing.quota_grant AS q WHERE q.id OPERATOR(pg_catalog.=) ANY (f.grant_ids)"
					   " AND NOT EXISTS (SELECT FROM ready AS y WHERE y.id OPERATOR(pg_catalog.=) q.id)))"
					   " RETURNING r.state, r.grant_ids, r.grant_units),"
					   " back AS (SELECT n.id, pg_catalog.sum(n.units)::pg_catalog.int8 AS units"
					   " FROM gone AS g, ROWS FROM (pg_catalog.unnest(g.grant_ids), pg_catalog.unnest(g.grant_units)) AS n (id, units)"
					   " WHERE g.state OPERATOR(pg_catalog.=) 'held' GROUP BY n.id),"
					   " given AS (UPDATE momento_billing.quota_grant AS q SET remaining = q.remaining OPERATOR(pg_catalog.+) b.units"
					   " FROM back AS b WHERE q.id OPERATOR(pg_catalog.=) b.id)"
					   " SELECT FROM gone",
					   SPI_OK_SELECT);
}

static bool
remove_rows(SPIPlanPtr *plan, const char *sql, int expected)
{
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		args[1] = {TimestampTzGetDatum(usage_limit())};

	mb_spi_run(plan, sql, 1, types, args, expected);
	return SPI_processed > 0;
}

static TimestampTz
usage_limit(void)
{
	return GetCurrentTimestamp() - Max(mb_usage_retention * USECS_PER_SEC, LONGEST_MONTH);
}
