/*
 * notify.c
 *	  NOTIFY momento_billing, '{"userId": "user_ada", "from": "BASIC", "to": "PRO"}'
 *	  or '{"userId": "user_ada", "feature": "ai_chat", "percent": 80, "periodStart": "2026-06-01T00:00:00.000Z"}'.
 *
 * A transaction that notifies takes a lock of the whole cluster at its commit.
 * That must not be an app's transaction: what is changed in one goes into a
 * table, and the worker sends it.  What the worker changes itself it sends
 * with the change; but first what others left, lest an older change of a user
 * be said after a newer one.
 *
 * What share of a limit a user has reached is kept, with whether it has been
 * said: so each is said once in a period, whoever crosses it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"

#include "notify.h"
#include "settings.h"
#include "spi.h"
#include "stats.h"

/* A user id that would not fit into a notification is nobody's. */
#define MAX_USER_ID 1000

/* Crossings that one transaction tells of. */
#define MAX_QUOTAS 1000

static bool queue_has_room(void);
static void say(MbText user_id, MbText from, MbText to);
static void append_member(StringInfo json, const char *name, MbText value);

void
mb_notify_tier(MbText user_id, MbText from, MbText to)
{
	static TransactionId sent_in = InvalidTransactionId;
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		args[3];

	if (!mb_notify || !mb_enabled || user_id.len > MAX_USER_ID)
		return;
	if (mb_stats_is_worker() && queue_has_room())
	{
		if (sent_in != GetTopTransactionId())
			mb_notify_send();
		sent_in = GetTopTransactionId();
		say(user_id, from, to);
		return;
	}
	if (!mb_stats_is_worker() && !mb_stats_has_worker())
		return;
	args[0] = mb_spi_text_datum(user_id);
	args[1] = mb_spi_text_datum(from);
	args[2] = mb_spi_text_datum(to);
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.notification (user_id, from_tier, to_tier) VALUES ($1, $2, $3)",
			   3, types, args, SPI_OK_INSERT);
	mb_stats_wake_at_end();
}

/*
 * Several changes of one user are said as one: a transaction sends equal
 * notifications once, which would make a listener's last word a wrong one.
 */
void
mb_notify_send(void)
{
	static SPIPlanPtr plan = NULL;

	if (!queue_has_room())
		return;
	mb_spi_run(&plan,
			   "WITH d AS (DELETE FROM momento_billing.notification RETURNING id, user_id, from_tier, to_tier)"
			   " SELECT n.user_id, n.from_tier, n.to_tier"
			   " FROM (SELECT d.user_id, pg_catalog.min(d.id) AS id,"
			   " (pg_catalog.array_agg(d.from_tier ORDER BY d.id))[1] AS from_tier,"
			   " (pg_catalog.array_agg(d.to_tier ORDER BY d.id DESC))[1] AS to_tier FROM d GROUP BY d.user_id) AS n"
			   " WHERE n.from_tier OPERATOR(pg_catalog.<>) n.to_tier ORDER BY n.id",
			   0, NULL, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; mb_notify && i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		say(mb_spi_get_text(tuple, desc, 1), mb_spi_get_text(tuple, desc, 2), mb_spi_get_text(tuple, desc, 3));
	}
}

/* A month that is over, because nobody was there to tell, is no news. */
bool
mb_notify_quotas(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT8OID};
	Datum		args[1] = {Int64GetDatum(MAX_QUOTAS)};

	if (!queue_has_room())
		return true;
	mb_spi_run(&plan,
			   "WITH due AS MATERIALIZED (SELECT user_id, feature, period_start, percent FROM momento_billing.quota_crossing"
			   " WHERE NOT notified LIMIT $1 FOR UPDATE SKIP LOCKED),"
			   " said AS (UPDATE momento_billing.quota_crossing AS c SET notified = true FROM due AS d"
			   " WHERE c.user_id OPERATOR(pg_catalog.=) d.user_id AND c.feature OPERATOR(pg_catalog.=) d.feature"
			   " AND c.period_start OPERATOR(pg_catalog.=) d.period_start AND c.percent OPERATOR(pg_catalog.=) d.percent)"
			   " SELECT user_id, feature, percent::pg_catalog.text,"
			   " pg_catalog.to_char(pg_catalog.timezone('UTC', period_start), 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"
			   " CASE WHEN period_start OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '32 days'::pg_catalog.interval)"
			   " THEN 'now' END FROM due AS d ORDER BY d.user_id, d.feature, d.percent",
			   1, types, args, SPI_OK_SELECT);
	for (uint64 i = 0; mb_notify && i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MbText		user_id = mb_spi_get_text(tuple, desc, 1);
		MbText		percent = mb_spi_get_text(tuple, desc, 3);
		StringInfoData json;

		if (user_id.len > MAX_USER_ID || mb_spi_get_text(tuple, desc, 5).data == NULL)
			continue;
		initStringInfo(&json);
		appendStringInfoChar(&json, '{');
		append_member(&json, "userId", user_id);
		appendStringInfoString(&json, ", ");
		append_member(&json, "feature", mb_spi_get_text(tuple, desc, 2));
		appendStringInfo(&json, ", \"percent\": %.*s, ", percent.len, percent.data);
		append_member(&json, "periodStart", mb_spi_get_text(tuple, desc, 4));
		appendStringInfoChar(&json, '}');
		Async_Notify("momento_billing", json.data);
	}
	return SPI_processed < MAX_QUOTAS;
}

/*
 * Somebody who listens and does not read may fill the server's queue.  A full
 * one fails the transaction that notifies, and a row is worth more than word
 * of it: what is to be said waits in our table.
 */
static bool
queue_has_room(void)
{
	return DatumGetFloat8(OidFunctionCall0(F_PG_NOTIFICATION_QUEUE_USAGE)) < 0.9;
}

static void
say(MbText user_id, MbText from, MbText to)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "userId", user_id);
	appendStringInfoString(&json, ", ");
	append_member(&json, "from", from);
	appendStringInfoString(&json, ", ");
	append_member(&json, "to", to);
	appendStringInfoChar(&json, '}');
	Async_Notify("momento_billing", json.data);
}

static void
append_member(StringInfo json, const char *name, MbText value)
{
	appendStringInfo(json, "\"%s\": ", name);
	escape_json(json, pnstrdup(value.data, value.len));
}
