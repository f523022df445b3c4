/*
 * forget.c
 *	  forget_user(): erase what our tables hold of a user, and keep it so.
 *
 * Of the user, the customers and the subscriptions a salted hash is kept, by
 * which events that still come are known: they are ignored, and stored without
 * their payload.
 *
 * Whoever applies events shares a lock, which forget_user() takes alone: so
 * nothing that it removes is made again by a transaction which did not know
 * yet.  The inbox is searched before that, because it takes long.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "forget.h"
#include "json_jsonb.h"
#include "locks.h"
#include "reads.h"
#include "spi.h"

/* By what an event can be somebody's. */
#define NUM_KEYS 4

/* The user $1, and his customers and subscriptions, as keys of hashes. */
#define KEYS \
	"SELECT 'user:' OPERATOR(pg_catalog.||) $1" \
	" UNION SELECT 'customer:' OPERATOR(pg_catalog.||) c.customer_id FROM momento_billing.stripe_customer AS c" \
	" WHERE c.user_id OPERATOR(pg_catalog.=) $1" \
	" UNION SELECT 'subscription:' OPERATOR(pg_catalog.||) s.subscription_id FROM momento_billing.stripe_subscription AS s" \
	" WHERE s.user_id OPERATOR(pg_catalog.=) $1"

#define HASH(salt, key) \
	"pg_catalog.sha256(" salt " OPERATOR(pg_catalog.||) pg_catalog.convert_to(" key ", 'UTF8'))"

/* Inbox rows behind id $2 that name one of the keys, or the user as theirs. */
#define MENTIONS \
	"SELECT i.id FROM momento_billing.webhook_inbox AS i" \
	" CROSS JOIN LATERAL (SELECT i.payload::pg_catalog.text AS body, pg_catalog.encode(i.payload_raw, 'escape') AS raw OFFSET 0) AS t" \
	" WHERE i.id OPERATOR(pg_catalog.>) $2 AND (EXISTS (SELECT FROM (" KEYS ") AS k (key)," \
	" LATERAL (SELECT pg_catalog.to_jsonb(pg_catalog.substr(k.key, pg_catalog.strpos(k.key, ':') OPERATOR(pg_catalog.+) 1))::pg_catalog.text AS id) AS q" \
	" WHERE k.key OPERATOR(pg_catalog.!~~) 'user:%' AND (pg_catalog.strpos(t.body, q.id) OPERATOR(pg_catalog.>) 0" \
	" OR pg_catalog.strpos(t.raw, q.id) OPERATOR(pg_catalog.>) 0))" \
	" OR i.payload OPERATOR(pg_catalog.#>>) '{data,object,metadata,userId}' OPERATOR(pg_catalog.=) $1" \
	" OR i.payload OPERATOR(pg_catalog.#>>) '{data,object,client_reference_id}' OPERATOR(pg_catalog.=) $1" \
	" OR i.payload OPERATOR(pg_catalog.#>>) '{data,object,subscription_details,metadata,userId}' OPERATOR(pg_catalog.=) $1" \
	" OR i.payload OPERATOR(pg_catalog.#>>) '{data,object,parent,subscription_details,metadata,userId}' OPERATOR(pg_catalog.=) $1)"

static uint64 run(const char *sql, Datum *args, int expected);
static int	add_owners(Datum *keys, Datum *events, int n, MbJson event, int number);
static int	add_key(Datum *keys, Datum *events, int n, const char *kind, MbText id, int event);

PG_FUNCTION_INFO_V1(forget_user);

/* forget_user(user_id text): how many rows were removed or blanked */
Datum
forget_user(PG_FUNCTION_ARGS)
{
	static const char *const tables[] = {
		"usage", "quota_crossing", "quota_reservation", "quota_request", "quota_grant", "tier_grant", "other_access",
		"subscription_history", "notification", "stripe_customer", "stripe_subscription"
	};
	MbText		user = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	Datum		args[3] = {mb_spi_text_datum(user), Int64GetDatum(PG_INT64_MIN), (Datum) 0};
	int64		count;
	bool		isnull;

	SPI_connect();
	args[2] = mb_spi_array(NULL, 0, INT8OID);
	run("SELECT ARRAY(" MENTIONS "), COALESCE((SELECT pg_catalog.max(id) FROM momento_billing.webhook_inbox), 0)",
		args, SPI_OK_SELECT);
	args[1] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	args[2] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

	(void) mb_lock(MB_LOCK_FORGET, 0, ExclusiveLock, true);
	run("INSERT INTO momento_billing.forgotten (hash, salt)"
		" SELECT " HASH("s.salt", "k.key") ", s.salt FROM (" KEYS ") AS k (key),"
		" (SELECT COALESCE((SELECT f.salt FROM momento_billing.forgotten AS f LIMIT 1),"
		" pg_catalog.uuid_send(pg_catalog.gen_random_uuid())) AS salt) AS s"
		" ON CONFLICT DO NOTHING",
		args, SPI_OK_INSERT);

	/* also what has come while the rest was searched */
	count = run("UPDATE momento_billing.webhook_inbox AS i"
				" SET payload = NULL, payload_raw = NULL, last_error = NULL, waiting_for = NULL, next_attempt_at = NULL,"
				" status = CASE WHEN i.status OPERATOR(pg_catalog.=) 'processed' THEN i.status ELSE 'ignored' END,"
				" reason = 'forgotten',"
				" processed_at = COALESCE(i.processed_at, pg_catalog.clock_timestamp())"
				" WHERE i.id OPERATOR(pg_catalog.=) ANY ($3 OPERATOR(pg_catalog.||) ARRAY(" MENTIONS "))",
				args, SPI_OK_UPDATE);
	for (int i = 0; i < (int) lengthof(tables); i++)
		count += run(psprintf("DELETE FROM momento_billing.%s WHERE user_id OPERATOR(pg_catalog.=) $1", tables[i]),
					 args, SPI_OK_DELETE);
	SPI_finish();
	PG_RETURN_INT64(count);
}

void
mb_forget_lock(bool wait)
{
	if (!mb_lock(MB_LOCK_FORGET, 0, ShareLock, wait))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("a user is being forgotten")));
}

void
mb_forget_ignore(MbApplyEvent *events, int nevents)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {INT4ARRAYOID, TEXTARRAYOID};
	Datum		args[2];
	Datum	   *keys;
	Datum	   *numbers;
	int			n = 0;

	if (!mb_catalog_get()->has_forgotten)
		return;
	keys = palloc((NUM_KEYS * nevents + 1) * sizeof(Datum));
	numbers = palloc((NUM_KEYS * nevents + 1) * sizeof(Datum));
	for (int i = 0; i < nevents; i++)
	{
		const MbEvent *event = &events[i].event;

		/* what a person says is not Stripe's */
		if (event->kind == MB_EVENT_ADOPTED || event->kind == MB_EVENT_LINKED)
			continue;
		if (event->kind == MB_EVENT_IGNORED)
		{
			/* it has no effect, but it is kept */
			if (events[i].payload != NULL)
				n = add_owners(keys, numbers, n, mb_json_from_jsonb(events[i].payload), i);
			continue;
		}
		n = add_key(keys, numbers, n, "user", event->user_id, i);
		n = add_key(keys, numbers, n, "user", event->client_reference_id, i);
		n = add_key(keys, numbers, n, "customer", event->customer_id, i);
		n = add_key(keys, numbers, n, "subscription", event->subscription_id, i);
	}
	args[0] = mb_spi_array(numbers, n, INT4OID);
	args[1] = mb_spi_array(keys, n, TEXTOID);

	/* also where the caller's snapshot is older than the erasure */
	PushActiveSnapshot(GetLatestSnapshot());
	if (plan == NULL)
		plan = mb_spi_prepare("SELECT e.n FROM (SELECT salt FROM momento_billing.forgotten LIMIT 1) AS s,"
							  " ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS e (n, key), momento_billing.forgotten AS f"
							  " WHERE f.hash OPERATOR(pg_catalog.=) " HASH("s.salt", "e.key"),
							  2, types);
	mb_spi_execute(plan, args, true, SPI_OK_SELECT);
	PopActiveSnapshot();
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		MbEvent    *event = &events[DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull))].event;

		event->kind = MB_EVENT_IGNORED;
		event->reason = "forgotten";
	}
}

/* Of an event of any type: whose object is it? */
static int
add_owners(Datum *keys, Datum *events, int n, MbJson event, int number)
{
	MbJson		object = mb_json_get(mb_json_get(event, "data"), "object");
	MbJson		customer = mb_json_get(object, "customer");

	if (customer.type == MB_JSON_OBJECT)
		customer = mb_json_get(customer, "id");
	n = add_key(keys, events, n, "customer", customer.string, number);
	n = add_key(keys, events, n, "customer", mb_json_get(object, "id").string, number);
	n = add_key(keys, events, n, "subscription", mb_json_get(object, "subscription").string, number);
	return add_key(keys, events, n, "user", mb_json_get(mb_json_get(object, "metadata"), "userId").string, number);
}

/* A statement that is needed seldom; how many rows it concerned. */
static uint64
run(const char *sql, Datum *args, int expected)
{
	Oid			types[] = {TEXTOID, INT8OID, INT8ARRAYOID};
	int			result = SPI_execute_with_args(sql, 3, types, args, NULL, false, 0);

	if (result != expected)
		elog(ERROR, "SPI result %s instead of %s", SPI_result_code_string(result), SPI_result_code_string(expected));
	return SPI_processed;
}

static int
add_key(Datum *keys, Datum *events, int n, const char *kind, MbText id, int event)
{
	if (id.data == NULL)
		return n;
	keys[n] = CStringGetTextDatum(psprintf("%s:%.*s", kind, id.len, id.data));
	events[n] = Int32GetDatum(event);
	return n + 1;
}
