/*
 * upkeep.c
 *	  What has to be done without an event: repairs after a change of prices,
 *	  rows that time alone has changed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "app_table.h"
#include "busy.h"
#include "catalog.h"
#include "derive.h"
#include "spi.h"
#include "store.h"
#include "subtransaction.h"
#include "upkeep.h"

/* Users derived at one time; there are hardly ever any. */
#define MAX_USERS 100

static void derive(void *arg);
static int64 hash_prices(const MbPlans *plans);

/*
 * What a price buys is looked up when an event is applied.  When that
 * changes, the events that hold the states of subscriptions with such a price
 * are made due again: they are read anew, and an event that is applied again
 * replaces what it said before.  So nothing but the events' own way is needed
 * to repair a row, and nothing is changed by it that is right already.
 *
 * Which prices were repaired for is in drain_state, so that a change made
 * while no worker runs is not missed; that it is unchanged is remembered.
 */
void
mb_upkeep_prices(void)
{
	static uint64 done_generation = 0;
	static Oid	done_for = InvalidOid;
	static SPIPlanPtr plan_note = NULL;
	static SPIPlanPtr plan_repair = NULL;
	static SPIPlanPtr plan_again = NULL;
	bool		isnull;
	Oid			types[] = {INT8OID};
	const MbCatalog *catalog = mb_catalog_get();
	Datum		args[] = {Int64GetDatum(hash_prices(&catalog->plans))};

	if (done_for == catalog->subscription_relid && done_generation == catalog->generation)
		return;
	mb_spi_run(&plan_note,
			   "UPDATE momento_billing.drain_state SET prices = $1 WHERE prices IS NULL OR prices OPERATOR(pg_catalog.<>) $1",
			   1, types, args, SPI_OK_UPDATE);
	if (SPI_processed > 0)
	{
		mb_spi_run(&plan_repair,
				   "WITH concerned AS MATERIALIZED (SELECT s.state_event FROM momento_billing.stripe_subscription AS s"
				   " LEFT JOIN momento_billing.price AS p ON p.price_id OPERATOR(pg_catalog.=) s.price_id"
				   " WHERE s.price_id IS NOT NULL AND (p.tier OPERATOR(pg_catalog.<>) s.tier"
				   " OR s.tier_event IS NULL OR s.tier_event OPERATOR(pg_catalog.<>) s.state_event)),"
				   " found AS MATERIALIZED (SELECT i.id FROM concerned AS c JOIN momento_billing.webhook_inbox AS i"
				   " ON i.event_id OPERATOR(pg_catalog.=) c.state_event WHERE i.payload IS NOT NULL),"
				   " free AS MATERIALIZED (SELECT i.id FROM momento_billing.webhook_inbox AS i"
				   " WHERE i.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.id FROM found AS f)) FOR NO KEY UPDATE SKIP LOCKED),"
				   " due AS (UPDATE momento_billing.webhook_inbox AS i"
				   " SET status = CASE WHEN i.status OPERATOR(pg_catalog.=) 'waiting' THEN i.status ELSE 'pending' END,"
				   " attempts = 0, next_attempt_at = pg_catalog.clock_timestamp()"
				   " FROM free AS f WHERE i.id OPERATOR(pg_catalog.=) f.id)"
				   " SELECT (SELECT pg_catalog.count(*) FROM found) OPERATOR(pg_catalog.=) (SELECT pg_catalog.count(*) FROM free)",
				   0, NULL, NULL, SPI_OK_SELECT);
		if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
		{
			/* a client is at one of them: again, when it is done */
			mb_spi_run(&plan_again, "UPDATE momento_billing.drain_state SET prices = NULL", 0, NULL, NULL, SPI_OK_UPDATE);
			return;
		}
	}
	done_for = catalog->subscription_relid;
	done_generation = catalog->generation;
}

void
mb_upkeep_rows(MbCounts *counts)
{
	MbText	   *users;
	int			nusers;

	mb_store_begin();
	users = mb_derive_due(MAX_USERS, &nusers);
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

static int64
hash_prices(const MbPlans *plans)
{
	uint64		hash = 0;

	for (int i = 0; i < plans->nprices; i++)
	{
		const MbPrice *price = &plans->prices[i];
		const MbText *tier = &plans->tiers[price->tier].name;

		hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) price->price_id.data, price->price_id.len, 0));
		hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) tier->data, tier->len, 0));
	}
	return (int64) hash;
}
