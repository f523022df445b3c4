/*
 * upkeep.c
 *	  What has to be done without an event: repairs after a change of prices,
 *	  rows that time alone has changed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "busy.h"
#include "catalog.h"
#include "derive.h"
#include "settings.h"
#include "spi.h"
#include "store.h"
#include "subtransaction.h"
#include "upkeep.h"

/* Inbox rows looked at in one transaction for prices that have changed. */
#define REREAD_EVENTS 5000

/* Users derived at one time; there are hardly ever any. */
#define MAX_USERS 100

/* see remember_appliers() */
static VirtualTransactionId *appliers = NULL;
static int	nappliers = 0;
static bool looked_again = false;

static void remember_appliers(Oid relid);
static bool appliers_have_ended(void);
static void derive(void *arg);
static Datum price_map(const MbPlans *plans);

/*
 * What a price buys is looked up when an event is read: it decides the tier,
 * and which item's or line's period counts.  When prices come or change, all
 * events that mention them are made due again, some thousand inbox rows at a
 * time; an event that is applied again replaces what it said before.  So the
 * rows become what they would be had the prices been known from the start,
 * and nothing but the events' own way is needed.  A price that is taken away
 * takes nothing away (R29).
 *
 * The prices last seen are in drain_state, so that a change made while nobody
 * drains is not missed.  The first time, nothing is known of what was applied
 * without a drain, but that some of it says "unknown_price".  In the same way
 * the worker looks once more at what was being applied, with the old prices,
 * in transactions that were open when it noted the new ones.  The worker remembers that there is nothing to do; but
 * only once it has found it so, in another transaction than it was done in.
 */
bool
mb_upkeep_prices(void)
{
	static uint64 done_generation = 0;
	static Oid	done_for = InvalidOid;
	static TimestampTz wait_until = 0;
	static SPIPlanPtr plan_again = NULL;
	static SPIPlanPtr plan_note = NULL;
	static SPIPlanPtr plan_reread = NULL;
	static SPIPlanPtr plan_advance = NULL;
	const MbCatalog *catalog = mb_catalog_get();
	Oid			note_types[] = {JSONBOID};
	Datum		note_args[] = {price_map(&catalog->plans)};
	Oid			reread_types[] = {INT4OID};
	Datum		reread_args[] = {Int32GetDatum(REREAD_EVENTS)};
	Oid			advance_types[] = {INT8OID};
	Datum		advance_args[1];
	bool		isnull;
	bool		noted;

	if (appliers_have_ended())
		mb_spi_run(&plan_again, "UPDATE momento_billing.drain_state SET prices = NULL", 0, NULL, NULL, SPI_OK_UPDATE);
	else if (mb_stats_is_worker() &&
			 ((done_for == catalog->subscription_relid && done_generation == catalog->generation) ||
			  GetCurrentTimestamp() < wait_until))
		return false;
	mb_spi_run(&plan_note,
			   "UPDATE momento_billing.drain_state AS d SET prices = $1, reread_position = 0,"
			   " reread_unknown = d.prices IS NULL, reread_prices = ARRAY("
			   "SELECT pg_catalog.unnest(d.reread_prices) UNION SELECT n.key FROM pg_catalog.jsonb_each_text($1) AS n"
			   " LEFT JOIN pg_catalog.jsonb_each_text(d.prices) AS o ON o.key OPERATOR(pg_catalog.=) n.key"
			   " WHERE o.value IS NULL OR o.value OPERATOR(pg_catalog.<>) n.value)"
			   " WHERE d.prices IS NULL OR d.prices OPERATOR(pg_catalog.<>) $1",
			   1, note_types, note_args, SPI_OK_UPDATE);
	noted = SPI_processed > 0;
	if (noted)
		remember_appliers(catalog->subscription_relid);
	mb_spi_run(&plan_reread,
			   "WITH state AS MATERIALIZED (SELECT d.reread_prices AS prices, d.reread_position AS position,"
			   " d.reread_unknown AS unknown"
			   " FROM momento_billing.drain_state AS d WHERE pg_catalog.cardinality(d.reread_prices) OPERATOR(pg_catalog.>) 0),"
			   " part AS MATERIALIZED (SELECT i.id, i.event_type, i.status, i.reason, i.payload, s.prices, s.unknown"
			   " FROM state AS s, LATERAL (SELECT r.id, r.event_type, r.status, r.reason, r.payload"
			   " FROM momento_billing.webhook_inbox AS r WHERE r.id OPERATOR(pg_catalog.>) s.position"
			   " ORDER BY r.id LIMIT $1) AS i),"
			   " found AS MATERIALIZED (SELECT p.id FROM part AS p"
			   " WHERE p.status OPERATOR(pg_catalog.=) ANY ('{processed,waiting,dead}') AND p.payload IS NOT NULL"
			   " AND (NOT p.unknown OR p.reason OPERATOR(pg_catalog.=) ANY ('{unknown_price,unknown_user}'))"
			   " AND (p.event_type OPERATOR(pg_catalog.~~) 'customer.subscription.%'"
			   " OR p.event_type OPERATOR(pg_catalog.=) ANY ('{invoice.payment_failed,checkout.session.completed,checkout.session.async_payment_succeeded}'))"
			   " AND EXISTS (SELECT FROM (SELECT p.payload::pg_catalog.text AS text) AS t, pg_catalog.unnest(p.prices) AS n (price_id)"
			   " WHERE pg_catalog.strpos(t.text, pg_catalog.concat('\"', n.price_id, '\"')) OPERATOR(pg_catalog.>) 0)),"
			   " free AS MATERIALIZED (SELECT i.id FROM momento_billing.webhook_inbox AS i"
			   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.id FROM found AS f)) FOR NO KEY UPDATE SKIP LOCKED),"
			   " due AS (UPDATE momento_billing.webhook_inbox AS i"
			   " SET status = CASE WHEN i.status OPERATOR(pg_catalog.=) 'waiting' THEN i.status ELSE 'pending' END,"
			   " attempts = 0, next_attempt_at = pg_catalog.clock_timestamp()"
			   " FROM free AS f WHERE i.id OPERATOR(pg_catalog.=) f.id)"
			   " SELECT (SELECT pg_catalog.count(*) FROM found) OPERATOR(pg_catalog.=) (SELECT pg_catalog.count(*) FROM free),"
			   " (SELECT pg_catalog.max(p.id) FROM part AS p) FROM state",
			   1, reread_types, reread_args, SPI_OK_SELECT);
	if (SPI_processed == 0)
	{
		if (!noted)
		{
			done_for = catalog->subscription_relid;
			done_generation = catalog->generation;
		}
		return false;
	}

	/* a client is at one of them: the same again, when it may have ended */
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
	{
		wait_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), mb_naptime);
		return false;
	}
	advance_args[0] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	if (isnull)
		advance_args[0] = Int64GetDatum(-1);
	mb_spi_run(&plan_advance,
			   "UPDATE momento_billing.drain_state SET reread_position = $1,"
			   " reread_prices = CASE WHEN $1 OPERATOR(pg_catalog.>=) 0 THEN reread_prices END",
			   1, advance_types, advance_args, SPI_OK_UPDATE);
	return true;
}

/* In the worker: who may have applied events with the prices of before? */
static void
remember_appliers(Oid relid)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			n;

	if (!mb_stats_is_worker() || looked_again)
	{
		looked_again = false;
		return;
	}
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	holders = GetLockConflicts(&tag, ShareLock, &n);
	if (appliers != NULL)
		pfree(appliers);
	appliers = MemoryContextAlloc(TopMemoryContext, Max(n, 1) * sizeof(VirtualTransactionId));
	memcpy(appliers, holders, n * sizeof(VirtualTransactionId));
	pfree(holders);
	nappliers = n;
}

/* True once, when the last of them has ended. */
static bool
appliers_have_ended(void)
{
	int			left = 0;

	if (nappliers == 0)
		return false;
	for (int i = 0; i < nappliers; i++)
		if (!VirtualXactLock(appliers[i], false))
			appliers[left++] = appliers[i];
	nappliers = left;
	looked_again = left == 0;
	return looked_again;
}

void
mb_upkeep_rows(MbCounts *counts)
{
	MbText	   *users;
	int			nusers;

	if (!mb_catalog_get()->has_other_access)
		return;
	mb_store_begin();
	mb_store_remove_past_grants();
	users = mb_store_users_due(MAX_USERS, &nusers);
	if (nusers == 0)
		return;
	mb_app_table_lock_table();
	nusers = mb_busy_leave_free(users, nusers);
	for (int i = 0; i < nusers; i++)
	{
		MbDerived	derived = {.catalog = mb_catalog_get(),.users = &users[i],.nusers = 1};
		ErrorData  *error = mb_subtransaction_run(derive, &derived);

		if (error == NULL)
			continue;
		if (mb_error_is_fatal(error))
			ReThrowError(error);
		counts->failed++;
		strlcpy(counts->last_error, error->message, pg_mbcliplen(error->message, strlen(error->message), MB_STATS_TEXT - 1) + 1);
	}
}

static void
derive(void *arg)
{
	mb_derive(arg);
}

/* {"price_1": "PRO", ...} */
static Datum
price_map(const MbPlans *plans)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < plans->nprices; i++)
	{
		const MbText *price_id = &plans->prices[i].price_id;
		const MbText *tier = &plans->tiers[plans->prices[i].tier].name;

		appendStringInfoString(&json, i == 0 ? "{" : ", ");
		escape_json(&json, pnstrdup(price_id->data, price_id->len));
		appendStringInfoString(&json, ": ");
		escape_json(&json, pnstrdup(tier->data, tier->len));
	}
	appendStringInfoString(&json, plans->nprices == 0 ? "{}" : "}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}
