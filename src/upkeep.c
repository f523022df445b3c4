/*
 * upkeep.c
 *	  What has to be done without an event: repairs after a change of prices,
 *	  rows that time alone has changed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "apply.h"
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

/*
 * Of a statement that has found what is "free"; processed_at says that it is
 * read again.  Due since the statement began, and so for the drain that makes
 * it due.
 */
#define MAKE_DUE \
	"UPDATE momento_billing.webhook_inbox AS i" \
	" SET status = CASE WHEN i.status OPERATOR(pg_catalog.=) 'waiting' THEN i.status ELSE 'pending' END," \
	" attempts = 0, next_attempt_at = pg_catalog.statement_timestamp(), processed_at = pg_catalog.clock_timestamp()" \
	" FROM free AS f WHERE i.id OPERATOR(pg_catalog.=) f.id"

/* Users derived at one time; there are hardly ever any. */
#define MAX_USERS 100

static bool note_prices(const MbCatalog *catalog);
static bool reread_part(void);
static bool reread_rest(void);
static void go_on_after(char *after, MbText user);
static void derive_user(MbText user, MbCounts *counts);
static void put_off(MbText user);
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
 * drains is not missed.  The first time, what was settled since a price was
 * written need not be read again: that is told by the rows' transactions.  And
 * all of it is done once more for what was being applied, with the old prices,
 * in transactions that were open when the new ones were noted.  The worker
 * remembers that there is nothing to do; but only once it has found it so, in
 * another transaction than it was done in.
 */
bool
mb_upkeep_prices(void)
{
	static uint64 done_generation = 0;
	static Oid	done_for = InvalidOid;
	const MbCatalog *catalog = mb_catalog_get();

	if (mb_stats_is_worker() && done_for == catalog->subscription_relid && done_generation == catalog->generation)
		return false;

	/* what it would note is newer than what it could see of the inbox */
	if (IsolationUsesXactSnapshot())
		return false;
	if (note_prices(catalog) || reread_part())
		return true;
	if (!reread_rest())
	{
		done_for = catalog->subscription_relid;
		done_generation = catalog->generation;
	}
	return false;
}

/* Have the prices changed? */
static bool
note_prices(const MbCatalog *catalog)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_again = NULL;
	Oid			types[] = {JSONBOID};
	Datum		args[] = {price_map(&catalog->plans)};

	mb_spi_run(&plan,
			   "UPDATE momento_billing.drain_state AS d SET prices = $1, reread_position = 0,"
			   " reread_noted = pg_catalog.clock_timestamp(), reread_older = d.prices IS NULL, reread_prices = ARRAY("
			   "SELECT pg_catalog.unnest(d.reread_prices) UNION SELECT n.key FROM pg_catalog.jsonb_each_text($1) AS n"
			   " LEFT JOIN pg_catalog.jsonb_each_text(d.prices) AS o ON o.key OPERATOR(pg_catalog.=) n.key"
			   " WHERE o.value IS NULL OR o.value OPERATOR(pg_catalog.<>) n.value)"
			   " WHERE d.prices IS NULL OR d.prices OPERATOR(pg_catalog.<>) $1",
			   1, types, args, SPI_OK_UPDATE);
	if (SPI_processed == 0)
		return false;
	mb_spi_run(&plan_again,
			   "UPDATE momento_billing.drain_state SET again_prices = again_prices OPERATOR(pg_catalog.||) reread_prices,"
			   " again_after = pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())",
			   0, NULL, NULL, SPI_OK_UPDATE);
	return true;
}

/*
 * Make the events due in the next part of the inbox that mention one of the
 * prices; those that a client is at, later.  False if there is no next part.
 */
static bool
reread_part(void)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_advance = NULL;
	Oid			types[] = {INT4OID};
	Datum		args[] = {Int32GetDatum(REREAD_EVENTS)};
	Oid			advance_types[] = {INT8OID, INT8ARRAYOID};
	Datum		advance_args[2];
	bool		isnull;

	mb_spi_run(&plan,
			   "WITH state AS MATERIALIZED (SELECT d.reread_prices AS prices, d.reread_position AS position, d.reread_older AS older,"
			   " d.reread_noted AS noted"
			   " FROM momento_billing.drain_state AS d WHERE pg_catalog.cardinality(d.reread_prices) OPERATOR(pg_catalog.>) 0),"
			   " part AS MATERIALIZED (SELECT i.id, i.event_type, i.status, i.payload, i.xmin, s.prices, s.older,"
			   " i.processed_at OPERATOR(pg_catalog.>=) s.noted AS is_new"
			   " FROM state AS s, LATERAL (SELECT r.id, r.event_type, r.status, r.payload, r.xmin, r.processed_at"
			   " FROM momento_billing.webhook_inbox AS r WHERE r.id OPERATOR(pg_catalog.>) s.position"
			   " ORDER BY r.id LIMIT $1) AS i),"
			   " found AS MATERIALIZED (SELECT p.id FROM part AS p"
			   " WHERE p.status OPERATOR(pg_catalog.=) ANY ('{processed,waiting,dead}') AND p.payload IS NOT NULL"
			   " AND p.is_new IS NOT TRUE"
			   " AND (p.event_type OPERATOR(pg_catalog.~~) 'customer.subscription.%'"
			   " OR p.event_type OPERATOR(pg_catalog.=) ANY ('{invoice.payment_failed,checkout.session.completed,checkout.session.async_payment_succeeded}'))"
			   " AND EXISTS (SELECT FROM (SELECT p.payload::pg_catalog.text AS text) AS t, pg_catalog.unnest(p.prices) AS n (price_id)"
			   " WHERE pg_catalog.strpos(t.text, pg_catalog.to_jsonb(n.price_id)::pg_catalog.text) OPERATOR(pg_catalog.>) 0"
			   " AND (NOT p.older OR EXISTS (SELECT FROM momento_billing.price AS r WHERE r.price_id OPERATOR(pg_catalog.=) n.price_id"
			   " AND pg_catalog.age(p.xmin) OPERATOR(pg_catalog.>) pg_catalog.age(r.xmin))))),"
			   " free AS MATERIALIZED (SELECT i.id FROM momento_billing.webhook_inbox AS i"
			   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.id FROM found AS f)) FOR NO KEY UPDATE SKIP LOCKED),"
			   " due AS (" MAKE_DUE ")"
			   " SELECT (SELECT pg_catalog.max(p.id) FROM part AS p),"
			   " ARRAY(SELECT f.id FROM found AS f EXCEPT SELECT f.id FROM free AS f) FROM state",
			   1, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	advance_args[0] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		advance_args[0] = Int64GetDatum(-1);
	advance_args[1] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	mb_spi_run(&plan_advance,
			   "UPDATE momento_billing.drain_state SET reread_position = $1,"
			   " reread_prices = CASE WHEN $1 OPERATOR(pg_catalog.>=) 0 THEN reread_prices END,"
			   " reread_locked = reread_locked OPERATOR(pg_catalog.||) $2",
			   2, advance_types, advance_args, SPI_OK_UPDATE);
	return true;
}

/*
 * The same for those that a client was at; and all of it once more, when those
 * who may have applied events with the old prices have ended.  True if there
 * still is something to wait for.
 */
static bool
reread_rest(void)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_again = NULL;
	static SPIPlanPtr plan_left = NULL;

	mb_spi_run(&plan_again,
			   "UPDATE momento_billing.drain_state SET reread_prices = again_prices, reread_position = 0,"
			   " again_prices = NULL, again_after = NULL"
			   " WHERE again_after OPERATOR(pg_catalog.<=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())",
			   0, NULL, NULL, SPI_OK_UPDATE);
	if (SPI_processed > 0)
		mb_stats_wake_at_end();
	mb_spi_run(&plan,
			   "WITH found AS MATERIALIZED (SELECT i.id FROM momento_billing.webhook_inbox AS i"
			   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT pg_catalog.unnest(d.reread_locked) FROM momento_billing.drain_state AS d))"
			   " AND i.status OPERATOR(pg_catalog.=) ANY ('{processed,waiting,dead}')),"
			   " free AS MATERIALIZED (SELECT i.id FROM momento_billing.webhook_inbox AS i"
			   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.id FROM found AS f)) FOR NO KEY UPDATE SKIP LOCKED),"
			   " due AS (" MAKE_DUE ")"
			   " UPDATE momento_billing.drain_state AS d"
			   " SET reread_locked = ARRAY(SELECT f.id FROM found AS f EXCEPT SELECT f.id FROM free AS f)"
			   " WHERE pg_catalog.cardinality(d.reread_locked) OPERATOR(pg_catalog.>) 0",
			   0, NULL, NULL, SPI_OK_UPDATE);
	mb_spi_run(&plan_left,
			   "SELECT FROM momento_billing.drain_state WHERE pg_catalog.cardinality(reread_locked) OPERATOR(pg_catalog.>) 0"
			   " OR pg_catalog.cardinality(reread_prices) OPERATOR(pg_catalog.>) 0 OR again_after IS NOT NULL",
			   0, NULL, NULL, SPI_OK_SELECT);
	return SPI_processed > 0;
}

int
mb_upkeep_rows(char *after, MbCounts *counts)
{
	MbText	   *users;
	int			ndue;
	int			nusers;

	if (!mb_catalog_get()->has_other_access)
		return 0;
	mb_store_begin();
	mb_store_remove_past_grants();
	users = mb_store_users_due(mb_text(after), MAX_USERS, &ndue);
	if (ndue == 0)
		return 0;
	go_on_after(after, users[ndue - 1]);
	mb_app_table_lock_table();
	nusers = mb_busy_leave_free(users, ndue);
	for (int i = 0; i < nusers; i++)
		derive_user(users[i], counts);
	return ndue;
}

bool
mb_upkeep_put_off(char *after)
{
	MbText	   *users;
	int			n;

	if (!mb_catalog_get()->has_other_access)
		return false;
	mb_store_begin();
	users = mb_store_users_due(mb_text(after), 1, &n);
	if (n == 0)
		return false;
	go_on_after(after, users[0]);
	put_off(users[0]);
	return true;
}

void
mb_upkeep_row(const char *user_id, MbCounts *counts)
{
	MbText		user = mb_text(user_id);

	mb_store_begin();
	mb_app_table_lock_table();
	if (mb_busy_leave_free(&user, 1) > 0)
		derive_user(user, counts);
}

static void
derive_user(MbText user, MbCounts *counts)
{
	MbDerived	derived = {.catalog = mb_catalog_get(),.users = &user,.nusers = 1};
	ErrorData  *error = mb_subtransaction_run(derive, &derived);

	CHECK_FOR_INTERRUPTS();
	if (error == NULL)
		return;
	if (mb_error_is_fatal(error))
		ReThrowError(error);
	counts->failed++;
	strlcpy(counts->last_error, error->message, pg_mbcliplen(error->message, strlen(error->message), MB_STATS_TEXT - 1) + 1);

	/* the table refuses the row */
	if (!mb_apply_is_conflict(error->sqlerrcode))
		put_off(user);
}

/* Until retry_max has passed. */
static void
put_off(MbText user)
{
	const MbPlans *plans = &mb_catalog_get()->plans;

	mb_store_put_off_user(user, plans->tiers[plans->default_tier].name, GetCurrentTimestamp() + mb_retry_max * INT64CONST(1000));
}

/* A very long id is passed over with all that begin as it does. */
static void
go_on_after(char *after, MbText user)
{
	if (user.len < MB_UPKEEP_USER)
		snprintf(after, MB_UPKEEP_USER, "%.*s", user.len, user.data);
	else
		snprintf(after, MB_UPKEEP_USER, "%.*s\377", MB_UPKEEP_USER - 2, user.data);
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
