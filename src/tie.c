/*
 * tie.c
 *	  Events of one second: which of them have to be looked at together.
 *
 * Events that nothing but their ids tells apart are ordered as a set
 * (chain.c).  A subscription remembers the ids that may matter (remember.c);
 * what they say is read again from the inbox, which has every event that was
 * ever applied.  So what is rare costs nothing where it does not happen.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "json_jsonb.h"
#include "remember.h"
#include "spi.h"
#include "tie.h"

/* The registers whose events may tie. */
#define NUM_MARKS 5

static int	known_ids(const MbSubscription *subscription, MbText *ids);
static int	marked_ids(const MbSubscription *subscription, MbText *ids);
static void load(MbBatch *batch, MbText *ids, int n);
static const MbEvent **find_peers(MbBatch *batch, int event, int *count);
static MbEvent *find_event(MbBatch *batch, const MbBatchSubscription *subscription, MbText id);
static void add_peer(const MbBatch *batch, MbEvent *peer, const MbEvent **peers, int *count);
static bool remember(const MbSubscription *before, MbSubscription *after, const MbEvent *event,
					 const MbEvent *const *peers, int npeers);
static int	event_id_cmp(const void *a, const void *b);

/* What most ties need, at once. */
void
mb_tie_load(MbBatch *batch)
{
	MbText	   *ids = NULL;
	int			n = 0;
	int			size = 0;

	for (int i = 0; i < batch->nevents; i++)
	{
		MbBatchSubscription *subscription;

		if (batch->events[i].subscription < 0)
			continue;
		subscription = &batch->subscriptions[batch->events[i].subscription];
		if (subscription->peers_loaded || !mb_subscription_has_tie(&subscription->subscription, &batch->events[i].event))
			continue;
		if (size < n + NUM_MARKS + subscription->subscription.nties)
		{
			size = 2 * (n + NUM_MARKS + subscription->subscription.nties);
			ids = ids == NULL ? palloc(size * sizeof(MbText)) : repalloc(ids, size * sizeof(MbText));
		}
		n += known_ids(&subscription->subscription, ids + n);
		subscription->peers_loaded = true;
	}
	if (n > 0)
		load(batch, ids, n);
}

MbDecision
mb_tie_apply(MbBatch *batch, int event)
{
	MbApplyEvent *applied = &batch->events[event];
	MbBatchSubscription *subscription = &batch->subscriptions[applied->subscription];
	MbSubscription before = subscription->subscription;
	const MbEvent **peers = NULL;
	int			npeers = 0;
	MbDecision	decision;

	if (mb_subscription_has_tie(&before, &applied->event))
		peers = find_peers(batch, event, &npeers);
	decision = mb_subscription_apply(&subscription->subscription, &applied->event, peers, npeers, &batch->catalog->plans);
	if (applied->event.kind != MB_EVENT_PAYMENT_FAILED)
		decision.changed |= remember(&before, &subscription->subscription, &applied->event, peers, npeers);
	applied->previous_event = subscription->last_event;
	subscription->last_event = event;
	return decision;
}

/* The ids of the events that hold the registers, and of those that are remembered. */
static int
known_ids(const MbSubscription *subscription, MbText *ids)
{
	int			n = marked_ids(subscription, ids);

	for (int t = 0; t < subscription->nties; t++)
		ids[n++] = subscription->ties[t].event_id;
	return n;
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

/* Read events again, beside those that were. */
static void
load(MbBatch *batch, MbText *ids, int n)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTARRAYOID};
	Datum		args[1];

	n = mb_text_sort_unique(ids, n);
	args[0] = mb_spi_text_array(ids, n);
	mb_spi_run(&plan,
			   "SELECT payload FROM momento_billing.webhook_inbox"
			   " WHERE event_id OPERATOR(pg_catalog.=) ANY ($1) AND payload IS NOT NULL",
			   1, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return;
	if (batch->known == NULL)
		batch->known = palloc(SPI_processed * sizeof(MbEvent));
	else
		batch->known = repalloc(batch->known, (batch->nknown + SPI_processed) * sizeof(MbEvent));
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

/*
 * The event, those that hold a register and those that are remembered, as far
 * as they are known.  What is in the batch was applied before it.
 */
static const MbEvent **
find_peers(MbBatch *batch, int event, int *count)
{
	MbBatchSubscription *subscription = &batch->subscriptions[batch->events[event].subscription];
	const MbSubscription *known = &subscription->subscription;
	MbText	   *ids = palloc((NUM_MARKS + known->nties) * sizeof(MbText));
	int			nids = mb_text_sort_unique(ids, known_ids(known, ids));
	const MbEvent **peers;

	/* that there is a tie may have come out only by an event of this batch */
	for (int i = 0; i < nids && !subscription->peers_loaded; i++)
	{
		if (find_event(batch, subscription, ids[i]) != NULL)
			continue;
		load(batch, ids, nids);
		subscription->peers_loaded = true;
	}
	peers = palloc((nids + 1) * sizeof(MbEvent *));
	*count = 0;
	add_peer(batch, &batch->events[event].event, peers, count);
	for (int i = 0; i < nids; i++)
		if (!mb_text_eq(ids[i], batch->events[event].event.id))
			add_peer(batch, find_event(batch, subscription, ids[i]), peers, count);
	return peers;
}

/* An event of the subscription: of this batch, or one that was read again. */
static MbEvent *
find_event(MbBatch *batch, const MbBatchSubscription *subscription, MbText id)
{
	const MbEvent key = {.id = id};

	for (int i = subscription->last_event; i >= 0; i = batch->events[i].previous_event)
		if (mb_text_eq(batch->events[i].event.id, id))
			return &batch->events[i].event;
	if (batch->nknown == 0)
		return NULL;
	return bsearch(&key, batch->known, batch->nknown, sizeof(MbEvent), event_id_cmp);
}

static void
add_peer(const MbBatch *batch, MbEvent *peer, const MbEvent **peers, int *count)
{
	if (peer == NULL || peer->kind == MB_EVENT_PAYMENT_FAILED)
		return;
	if (peer->before == NULL)
	{
		MbEvent    *before = palloc(sizeof(MbEvent));

		if (mb_event_read_before(peer, &batch->catalog->plans, before))
			peer->before = before;
	}
	peers[(*count)++] = peer;
}

/* True if that changes what is remembered. */
static bool
remember(const MbSubscription *before, MbSubscription *after, const MbEvent *event,
		 const MbEvent *const *peers, int npeers)
{
	MbTie		few[8];
	MbTie	   *ties = few;
	int			room = before->nties + npeers + 6;
	int			n;
	bool		same;

	if (room > (int) lengthof(few))
		ties = palloc(room * sizeof(MbTie));
	n = mb_remember_ties(before, after, event, peers, npeers, ties);
	same = n == before->nties;
	for (int i = 0; same && i < n; i++)
		same = mb_text_eq(ties[i].event_id, before->ties[i].event_id);
	if (same)
		return false;
	if (ties == few)
	{
		ties = palloc(Max(n, 1) * sizeof(MbTie));
		memcpy(ties, few, n * sizeof(MbTie));
	}
	after->ties = ties;
	after->nties = n;
	return true;
}

static int
event_id_cmp(const void *a, const void *b)
{
	return mb_text_cmp(((const MbEvent *) a)->id, ((const MbEvent *) b)->id);
}
