/*
 * tie.c
 *	  Events of one second: which of them have to be looked at together.
 *
 * Events that nothing but their ids tells apart are ordered as a set
 * (subscription.c).  A subscription remembers their ids for as long as one of
 * its registers holds an event of their second; what they say is read again
 * from the inbox, which has every event that was ever applied.  So what is
 * rare costs nothing where it does not happen.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "json_jsonb.h"
#include "spi.h"
#include "tie.h"

/* The registers whose events may tie. */
#define NUM_MARKS 5

static int	marked_ids(const MbSubscription *subscription, MbText *ids);
static const MbEvent **find_peers(MbBatch *batch, int event, int *count);
static void add_peer(const MbBatch *batch, MbEvent *peer, const MbEvent **peers, int *count);
static bool remember(MbSubscription *subscription, const MbEvent *const *peers, int npeers);
static int	event_id_cmp(const void *a, const void *b);

void
mb_tie_load(MbBatch *batch)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[1];
	MbText	   *ids = NULL;
	int			n = 0;
	int			size = 0;

	for (int i = 0; i < batch->nevents; i++)
	{
		const MbSubscription *subscription;

		if (batch->events[i].subscription < 0)
			continue;
		subscription = &batch->subscriptions[batch->events[i].subscription].subscription;
		if (!mb_subscription_has_tie(subscription, &batch->events[i].event))
			continue;
		if (size < n + NUM_MARKS + subscription->nties)
		{
			size = 2 * (n + NUM_MARKS + subscription->nties);
			ids = ids == NULL ? palloc(size * sizeof(MbText)) : repalloc(ids, size * sizeof(MbText));
		}
		n += marked_ids(subscription, ids + n);
		for (int t = 0; t < subscription->nties; t++)
			ids[n++] = subscription->ties[t].event_id;
	}
	if (n == 0)
		return;

	n = mb_text_sort_unique(ids, n);
	args[0] = mb_spi_text_array(ids, n);
	mb_spi_run(&plan,
			   "SELECT payload FROM momento_billing.webhook_inbox"
			   " WHERE event_id OPERATOR(pg_catalog.=) ANY ($1) AND payload IS NOT NULL",
			   1, types, args, SPI_OK_SELECT);
	batch->known = palloc(Max(SPI_processed, 1) * sizeof(MbEvent));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		payload = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		MbEvent    *event = &batch->known[batch->nknown];

		/* what counted once counts, whatever the setting is now */
		mb_event_read(mb_json_from_jsonb(DatumGetJsonbP(payload)), &batch->catalog->plans, MB_LIVEMODE_ANY, event);
		if (event->kind != MB_EVENT_IGNORED)
			batch->nknown++;
	}
	qsort(batch->known, batch->nknown, sizeof(MbEvent), event_id_cmp);
}

MbDecision
mb_tie_apply(MbBatch *batch, int event)
{
	MbApplyEvent *applied = &batch->events[event];
	MbBatchSubscription *subscription = &batch->subscriptions[applied->subscription];
	const MbEvent **peers = NULL;
	int			npeers = 0;
	MbDecision	decision;

	if (mb_subscription_has_tie(&subscription->subscription, &applied->event))
		peers = find_peers(batch, event, &npeers);
	decision = mb_subscription_apply(&subscription->subscription, &applied->event, peers, npeers, &batch->catalog->plans);
	if (npeers > 0)
		decision.changed |= remember(&subscription->subscription, peers, npeers);
	applied->previous_event = subscription->last_event;
	subscription->last_event = event;
	return decision;
}

/* The ids of the events that hold the registers. */
static int
marked_ids(const MbSubscription *subscription, MbText *ids)
{
	const MbMark *marks[NUM_MARKS] = {
		&subscription->state, &subscription->tier_mark, &subscription->period, &subscription->live, &subscription->fell
	};
	int			n = 0;

	for (int i = 0; i < NUM_MARKS; i++)
		if (marks[i]->created != MB_NO_TIME)
			ids[n++] = marks[i]->event_id;
	return n;
}

/*
 * The event and all that it may tie with: those of this batch that were
 * applied to the subscription before it, and those that it remembers.
 */
static const MbEvent **
find_peers(MbBatch *batch, int event, int *count)
{
	MbBatchSubscription *subscription = &batch->subscriptions[batch->events[event].subscription];
	const MbSubscription *known = &subscription->subscription;
	MbText	   *ids = palloc((NUM_MARKS + known->nties) * sizeof(MbText));
	int			nids = marked_ids(known, ids);
	const MbEvent **peers;
	int			n = 1;

	for (int t = 0; t < known->nties; t++)
		ids[nids++] = known->ties[t].event_id;
	for (int i = subscription->last_event; i >= 0; i = batch->events[i].previous_event)
		n++;
	peers = palloc((n + nids) * sizeof(MbEvent *));
	*count = 0;
	add_peer(batch, &batch->events[event].event, peers, count);
	for (int i = subscription->last_event; i >= 0; i = batch->events[i].previous_event)
		add_peer(batch, &batch->events[i].event, peers, count);
	for (int i = 0; i < nids; i++)
	{
		const MbEvent key = {.id = ids[i]};

		add_peer(batch, bsearch(&key, batch->known, batch->nknown, sizeof(MbEvent), event_id_cmp), peers, count);
	}
	return peers;
}

static void
add_peer(const MbBatch *batch, MbEvent *peer, const MbEvent **peers, int *count)
{
	if (peer == NULL || peer->kind == MB_EVENT_PAYMENT_FAILED)
		return;
	for (int i = 0; i < *count; i++)
		if (mb_text_eq(peers[i]->id, peer->id))
			return;
	if (peer->before == NULL)
	{
		MbEvent    *before = palloc(sizeof(MbEvent));

		if (mb_event_read_before(peer, &batch->catalog->plans, before))
			peer->before = before;
	}
	peers[(*count)++] = peer;
}

/*
 * Remember the events that tied, those that were known and those that were
 * not, until no register holds an event of their second.  True if that
 * changes what is remembered.
 */
static bool
remember(MbSubscription *subscription, const MbEvent *const *peers, int npeers)
{
	MbTie	   *ties = palloc((npeers + subscription->nties + 1) * sizeof(MbTie));
	int			n = 0;
	int			old;

	for (int t = 0; t < subscription->nties; t++)
		if (mb_subscription_refers_to(subscription, subscription->ties[t].created))
			ties[n++] = subscription->ties[t];
	old = n;
	for (int i = 0; i < npeers; i++)
	{
		int			in_its_second = 0;
		bool		is_known = false;

		for (int j = 0; j < npeers; j++)
			in_its_second += peers[j]->created == peers[i]->created;
		for (int t = 0; t < n; t++)
			is_known |= mb_text_eq(ties[t].event_id, peers[i]->id);
		if (in_its_second > 1 && !is_known && mb_subscription_refers_to(subscription, peers[i]->created))
		{
			ties[n].event_id = peers[i]->id;
			ties[n++].created = peers[i]->created;
		}
	}
	if (n == old && n == subscription->nties)
		return false;
	subscription->ties = ties;
	subscription->nties = n;
	return true;
}

static int
event_id_cmp(const void *a, const void *b)
{
	return mb_text_cmp(((const MbEvent *) a)->id, ((const MbEvent *) b)->id);
}
