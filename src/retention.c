/*
 * retention.c
 *	  Removing usage that is too old, and what goes with it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "retention.h"
#include "spi.h"

/* Rows removed in one transaction, and rows of usage looked at in one. */
#define REMOVE_ROWS "1000"
#define WALK_ROWS "2000"

static bool remove_rows(SPIPlanPtr *plan, const char *sql, MbTime before, int expected);

/*
 * The table of counters is walked along its key, a part at a time: an index on
 * the time would cost every consumer.
 */
bool
mb_retention_remove_usage(MbTime before, MbUsageWalk *walk)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		args[4];
	HeapTuple	last;
	TupleDesc	desc;
	bool		isnull;

	args[0] = CStringGetTextDatum(walk->user_id != NULL ? walk->user_id : "");
	args[1] = CStringGetTextDatum(walk->feature != NULL ? walk->feature : "");
	args[2] = TimestampTzGetDatum(walk->period_start);
	args[3] = TimestampTzGetDatum(before);
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
	if (SPI_processed == 0)
		return false;
	last = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	mb_retention_restart(walk);
	walk->user_id = MemoryContextStrdup(walk->context, SPI_getvalue(last, desc, 1));
	walk->feature = MemoryContextStrdup(walk->context, SPI_getvalue(last, desc, 2));
	walk->period_start = DatumGetTimestampTz(SPI_getbinval(last, desc, 3, &isnull));
	return true;
}

void
mb_retention_restart(MbUsageWalk *walk)
{
	if (walk->user_id != NULL)
		pfree(walk->user_id);
	if (walk->feature != NULL)
		pfree(walk->feature);
	walk->user_id = walk->feature = NULL;
	walk->period_start = DT_NOBEGIN;
}

bool
mb_retention_remove_requests(MbTime before)
{
	static SPIPlanPtr plan = NULL;

	return remove_rows(&plan,
					   "DELETE FROM momento_billing.quota_request AS r USING ("
					   "SELECT user_id, idempotency_key FROM momento_billing.quota_request"
					   " WHERE created_at OPERATOR(pg_catalog.<) $1 ORDER BY created_at LIMIT " REMOVE_ROWS
					   " FOR UPDATE SKIP LOCKED) AS o"
					   " WHERE r.user_id OPERATOR(pg_catalog.=) o.user_id AND r.idempotency_key OPERATOR(pg_catalog.=) o.idempotency_key",
					   before, SPI_OK_DELETE);
}

bool
mb_retention_remove_crossings(MbTime before)
{
	static SPIPlanPtr plan = NULL;

	return remove_rows(&plan,
					   "DELETE FROM momento_billing.quota_crossing AS c USING ("
					   "SELECT user_id, feature, period_start, percent FROM momento_billing.quota_crossing"
					   " WHERE period_start OPERATOR(pg_catalog.<) $1 ORDER BY period_start LIMIT " REMOVE_ROWS
					   " FOR UPDATE SKIP LOCKED) AS o"
					   " WHERE c.user_id OPERATOR(pg_catalog.=) o.user_id AND c.feature OPERATOR(pg_catalog.=) o.feature"
					   " AND c.period_start OPERATOR(pg_catalog.=) o.period_start AND c.percent OPERATOR(pg_catalog.=) o.percent",
					   before, SPI_OK_DELETE);
}

/*
 * A reservation that was never settled goes with the period's row that counts
 * it as held; what it has taken off grants is given back, unless somebody has
 * locked one of them.  Reservations are made, and are over, in the order of
 * their ids.
 */
bool
mb_retention_remove_reservations(MbTime before)
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
					   before, SPI_OK_SELECT);
}

static bool
remove_rows(SPIPlanPtr *plan, const char *sql, MbTime before, int expected)
{
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		args[1] = {TimestampTzGetDatum(before)};

	mb_spi_run(plan, sql, 1, types, args, expected);
	return SPI_processed > 0;
}
