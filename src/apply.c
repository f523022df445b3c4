/*
 * apply.c
 *	  From events to rows: one batch, or one event, in the caller's
 *	  transaction.
 *
 * The way of a batch:
 *	1. which subscriptions and customers are the events about, and what is
 *	   known of them?
 *	2. lock customers whose link is unknown or would change
 *	3. lock the subscriptions (all of a customer's, if its user changes), or
 *	   see at step 5 that they are as they were
 *	4. decide in memory, per subscription, event by event
 *	5. write the customers and subscriptions that changed
 *	6. lock the rows of their users, read all subscriptions of these users,
 *	   derive each user's row, write those that changed
 *	7. settle events that waited for a user who is known now
 *
 * Locks are taken in this order everywhere, each kind sorted by id, so that
 * appliers wait for each other in one direction only.
 *
 * Races closed here:
 * - A new subscription and a new link of its customer, in two transactions:
 *   both lock the customer's row (a subscription without a user does so
 *   always), so the second sees what the first did.
 * - Two subscriptions of one user: both lock the user's row before they read
 *   the user's subscriptions, and they read them under a fresh snapshot.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "batch.h"
#include "catalog.h"
#include "forget.h"
#include "json_jsonb.h"
#include "links.h"
#include "settings.h"
#include "spi.h"
#include "store.h"
#include "subtransaction.h"
#include "tie.h"

static void apply(MbBatch *batch, bool guarded);
static void collect(MbBatch *batch);
static bool is_wanted(const MbApplyEvent *event);
static void read_subscriptions(MbBatch *batch);
static void lock_subscriptions(MbBatch *batch);
static MbText *subscription_ids(const MbBatch *batch, int more);
static void take_row(const MbBatch *batch, MbBatchSubscription *subscription, const MbSubscription *row, const MbPlace *place);
static void decide_states(MbBatch *batch);
static void write_ours(MbBatch *batch);
static void collect_users(MbBatch *batch);
static void blame(MbDerived *derived, MbText user_id, MbText event_id);
static int	find_user(const MbDerived *derived, MbText user_id);
static void derive_guarded(MbBatch *batch);
static void rethrow_unless_kept(ErrorData *error);
static void derive(void *arg);
static void end_waiting(MbBatch *batch);
static void finish(MbBatch *batch);

void
mb_apply_events(MbApplyEvent *events, int nevents, bool guarded, bool can_retry, bool careful)
{
	MbBatch		batch = {.events = events,.nevents = nevents,.can_retry = can_retry,.careful = careful};
	MbApplyEvent *adopted;
	int			nadopted = 0;

	mb_store_begin();
	mb_forget_lock(!careful);
	mb_forget_ignore(events, nevents);
	batch.catalog = batch.derived.catalog = mb_catalog_get();
	collect(&batch);
	if (batch.nsubscriptions == 0 && batch.ncustomers == 0)
		return;

	/* A missing table is an error before any row is locked. */
	mb_app_table_lock_table();

	read_subscriptions(&batch);
	mb_links_read(&batch);
	adopted = mb_links_adopt(&batch, &nadopted);
	if (nadopted > 0)
	{
		batch.events = palloc((nadopted + nevents) * sizeof(MbApplyEvent));
		batch.nevents = nadopted + nevents;
		memcpy(batch.events, adopted, nadopted * sizeof(MbApplyEvent));
		memcpy(batch.events + nadopted, events, nevents * sizeof(MbApplyEvent));
		collect(&batch);
		read_subscriptions(&batch);
		mb_links_read(&batch);
	}
	apply(&batch, guarded);
	if (nadopted > 0)
		memcpy(events, batch.events + nadopted, nevents * sizeof(MbApplyEvent));
}

void
mb_apply_read(Jsonb *payload, const MbPlans *plans, MbApplyEvent *event)
{
	MbEvent    *read = &event->event;

	event->payload = payload;
	mb_event_read(mb_json_from_jsonb(payload), plans, mb_livemode, read);
	if (read->kind == MB_EVENT_IGNORED)
		return;
	read->user_id = mb_app_table_user_or_none(read->user_id);
	read->client_reference_id = mb_app_table_user_or_none(read->client_reference_id);
}

bool
mb_apply_is_conflict(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

const char *
mb_outcome_label(MbOutcome outcome)
{
	static const char *const labels[] = {"applied", "unchanged", "stale", "duplicate", "ignored", "waiting"};

	return labels[outcome];
}

static void
apply(MbBatch *batch, bool guarded)
{
	mb_links_decide(batch);
	lock_subscriptions(batch);
	decide_states(batch);
	write_ours(batch);
	collect_users(batch);
	if (batch->derived.nusers > 0)
	{
		if (guarded)
			derive_guarded(batch);
		else
			mb_derive(&batch->derived);
	}
	end_waiting(batch);
	finish(batch);
}

/* Step 1: the subscriptions and customers, sorted, each once. */
static void
collect(MbBatch *batch)
{
	MbText	   *ids = palloc(Max(batch->nevents, 1) * sizeof(MbText));
	int			n = 0;

	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];

		event->subscription = event->customer = -1;
		event->outcome = MB_OUTCOME_IGNORED;
		event->reason = mb_text(event->event.reason);
		if (is_wanted(event) && event->event.subscription_id.data != NULL)
			ids[n++] = event->event.subscription_id;
	}
	n = mb_text_sort_unique(ids, n);
	batch->nsubscriptions = n;
	batch->subscriptions = palloc0(Max(n, 1) * sizeof(MbBatchSubscription));
	for (int i = 0; i < n; i++)
	{
		mb_subscription_init(&batch->subscriptions[i].subscription, ids[i]);
		batch->subscriptions[i].customer = -1;
		batch->subscriptions[i].last_event = -1;
	}

	n = 0;
	for (int i = 0; i < batch->nevents; i++)
		if (is_wanted(&batch->events[i]) && batch->events[i].event.customer_id.data != NULL)
			ids[n++] = batch->events[i].event.customer_id;
	n = mb_text_sort_unique(ids, n);
	batch->ncustomers = n;
	batch->customers = palloc0(Max(n, 1) * sizeof(MbBatchCustomer));
	for (int i = 0; i < n; i++)
	{
		batch->customers[i].customer.customer_id = ids[i];
		batch->customers[i].customer.created = MB_NO_TIME;
	}

	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];

		if (!is_wanted(event))
			continue;
		event->reason = MB_NO_TEXT;
		event->outcome = MB_OUTCOME_UNCHANGED;
		if (event->event.subscription_id.data != NULL)
			event->subscription = mb_batch_find_subscription(batch, event->event.subscription_id);
		if (event->event.customer_id.data == NULL)
			continue;
		event->customer = mb_batch_find_customer(batch, event->event.customer_id);
		if (event->subscription >= 0)
			batch->subscriptions[event->subscription].customer = event->customer;
	}
}

static bool
is_wanted(const MbApplyEvent *event)
{
	return event->event.kind != MB_EVENT_IGNORED && !event->busy;
}

/* Step 1: what is known of the subscriptions. */
static void
read_subscriptions(MbBatch *batch)
{
	MbText	   *ids = subscription_ids(batch, 0);
	MbPlace    *places;
	int			n;
	MbSubscription *rows = mb_store_read_subscriptions(ids, batch->nsubscriptions, false, &places, &n);
	int			s = 0;

	/* both are sorted by id */
	for (int i = 0; i < n; i++)
	{
		while (mb_text_cmp(ids[s], rows[i].subscription_id) < 0)
			s++;
		take_row(batch, &batch->subscriptions[s], &rows[i], &places[i]);
	}
}

/*
 * Step 3: also the other subscriptions of customers whose user changes.  A
 * batch that can be tried again need not lock the others: that each is still
 * as it was read will be seen when it is updated.  What an event does not
 * change by now, it cannot change any more, since marks only grow.
 */
static void
lock_subscriptions(MbBatch *batch)
{
	MbText	   *bound = palloc(Max(batch->ncustomers, 1) * sizeof(MbText));
	MbBatchSubscription *old = batch->subscriptions;
	int			nold = batch->nsubscriptions;
	MbText	   *others = NULL;
	MbText	   *ids;
	MbSubscription *locked;
	MbPlace    *places;
	int			nbound = 0;
	int			nothers = 0;
	int			nlocked;
	int			n;
	int			o = 0;
	int			l = 0;

	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].bound)
			bound[nbound++] = batch->customers[i].customer.customer_id;
	if (nbound == 0 && (nold == 0 || (batch->can_retry && mb_store_updates_subscriptions_directly())))
		return;
	if (nbound > 0)
		others = mb_store_subscriptions_of_customers(bound, nbound, &nothers);
	ids = subscription_ids(batch, nothers);
	for (int i = 0; i < nothers; i++)
		ids[nold + i] = others[i];
	n = mb_text_sort_unique(ids, nold + nothers);
	locked = mb_store_read_subscriptions(ids, n, true, &places, &nlocked);

	batch->subscriptions = palloc0(Max(n, 1) * sizeof(MbBatchSubscription));
	batch->nsubscriptions = n;
	for (int i = 0; i < n; i++)
	{
		MbBatchSubscription *subscription = &batch->subscriptions[i];

		mb_subscription_init(&subscription->subscription, ids[i]);
		subscription->customer = subscription->last_event = -1;
		if (o < nold && mb_text_eq(old[o].subscription.subscription_id, ids[i]))
			subscription->customer = old[o++].customer;
		if (l < nlocked && mb_text_eq(locked[l].subscription_id, ids[i]))
		{
			take_row(batch, subscription, &locked[l], &places[l]);
			l++;
		}
	}
	for (int i = 0; n > nold && i < batch->nevents; i++)
		if (batch->events[i].subscription >= 0)
			batch->events[i].subscription = mb_batch_find_subscription(batch, batch->events[i].event.subscription_id);
}

/* With room for more. */
static MbText *
subscription_ids(const MbBatch *batch, int more)
{
	MbText	   *ids = palloc((batch->nsubscriptions + more + 1) * sizeof(MbText));

	for (int i = 0; i < batch->nsubscriptions; i++)
		ids[i] = batch->subscriptions[i].subscription.subscription_id;
	return ids;
}

static void
take_row(const MbBatch *batch, MbBatchSubscription *subscription, const MbSubscription *row, const MbPlace *place)
{
	subscription->subscription = *row;
	subscription->place = *place;
	subscription->exists = true;
	if (subscription->customer < 0 && row->customer_id.data != NULL)
		subscription->customer = mb_batch_find_customer(batch, row->customer_id);
}

/* Step 4. */
static void
decide_states(MbBatch *batch)
{
	mb_tie_load(batch);
	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];

		CHECK_FOR_INTERRUPTS();
		if (event->subscription >= 0)
		{
			MbDecision	decision = mb_tie_apply(batch, i);

			batch->subscriptions[event->subscription].changed |= decision.changed;
			event->outcome = decision.outcome;
			event->reason = mb_text(decision.reason);
		}
		if (event->linked && event->outcome == MB_OUTCOME_UNCHANGED)
			event->outcome = MB_OUTCOME_APPLIED;
	}

	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		MbBatchSubscription *subscription = &batch->subscriptions[i];
		const MbCustomer *customer;
		bool		weak_link;

		/*
		 * An unlocked customer may have been bound to another user since it
		 * was read; then its subscriptions, which are locked now, say so.
		 */
		if (subscription->customer < 0 ||
			(subscription->subscription.user_id.data != NULL && !batch->customers[subscription->customer].lock))
			continue;
		customer = &batch->customers[subscription->customer].customer;
		weak_link = customer->source == MB_LINK_CLIENT_REFERENCE_ID;
		if (customer->user_id.data == NULL ||
			(mb_text_eq(customer->user_id, subscription->subscription.user_id) && weak_link == subscription->subscription.weak_link))
			continue;
		subscription->left_user = subscription->subscription.user_id;
		subscription->won_user = subscription->exists && subscription->left_user.data == NULL;
		subscription->subscription.user_id = customer->user_id;
		subscription->subscription.weak_link = weak_link;
		subscription->subscription.link_created = customer->created;
		subscription->changed = true;
	}
}

/* Step 5. */
static void
write_ours(MbBatch *batch)
{
	MbCustomer *customers = palloc(Max(batch->ncustomers, 1) * sizeof(MbCustomer));
	const MbSubscription **inserts = palloc(Max(batch->nsubscriptions, 1) * sizeof(MbSubscription *));
	const MbSubscription **updates = palloc(Max(batch->nsubscriptions, 1) * sizeof(MbSubscription *));
	ItemPointerData *tids = palloc(Max(batch->nsubscriptions, 1) * sizeof(ItemPointerData));
	int			ncustomers = 0;
	int			ninserts = 0;
	int			nupdates = 0;

	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].changed)
			customers[ncustomers++] = batch->customers[i].customer;
	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		const MbBatchSubscription *subscription = &batch->subscriptions[i];

		if (!subscription->exists)
			inserts[ninserts++] = &subscription->subscription;
		else if (subscription->changed)
		{
			tids[nupdates] = subscription->place.version;
			updates[nupdates++] = &subscription->subscription;
		}
	}
	mb_store_save_customers(customers, ncustomers);
	/* those that exist are locked first, everywhere */
	mb_store_update_subscriptions(updates, tids, nupdates);
	mb_store_insert_subscriptions(inserts, ninserts);
}

/*
 * The users whose rows are derived: of every subscription in the batch,
 * changed or not, since a row may be missing from an earlier attempt that the
 * app's table refused; those who lost a subscription; and those whose claimed
 * customers count, or count no longer, because they won or lost another one.
 */
static void
collect_users(MbBatch *batch)
{
	MbDerived  *derived = &batch->derived;
	int			n = 0;

	derived->users = palloc((2 * batch->nsubscriptions + 2 * batch->ncustomers + 1) * sizeof(MbText));
	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		if (batch->subscriptions[i].subscription.user_id.data != NULL)
			derived->users[n++] = batch->subscriptions[i].subscription.user_id;
		if (batch->subscriptions[i].left_user.data != NULL)
			derived->users[n++] = batch->subscriptions[i].left_user;
	}
	for (int i = 0; i < batch->ncustomers; i++)
	{
		if (!batch->customers[i].bound)
			continue;
		derived->users[n++] = batch->customers[i].customer.user_id;
		if (batch->customers[i].left_user.data != NULL)
			derived->users[n++] = batch->customers[i].left_user;
	}
	derived->nusers = mb_text_sort_unique(derived->users, n);

	/*
	 * who may have no other subscription than one that is locked by its
	 * update
	 */
	derived->known = palloc0(Max(derived->nusers, 1) * sizeof(MbSubscription *));
	derived->roots = palloc(Max(derived->nusers, 1) * sizeof(ItemPointerData));
	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		const MbBatchSubscription *subscription = &batch->subscriptions[i];
		int			user = subscription->exists && subscription->changed ? find_user(derived, subscription->subscription.user_id) : -1;

		if (user < 0)
			continue;
		derived->known[user] = &subscription->subscription;
		derived->roots[user] = subscription->place.root;
	}

	/* what is to blame for a change, in the history: the last event */
	derived->events = palloc0(Max(derived->nusers, 1) * sizeof(MbText));
	for (int i = 0; i < batch->nevents; i++)
	{
		const MbApplyEvent *event = &batch->events[i];

		if (event->subscription >= 0 && event->event.kind != MB_EVENT_ADOPTED)
			blame(derived, batch->subscriptions[event->subscription].subscription.user_id, event->event.id);
		if (event->linked && batch->customers[event->customer].bound)
			blame(derived, batch->customers[event->customer].left_user, event->event.id);
	}
}

static void
blame(MbDerived *derived, MbText user_id, MbText event_id)
{
	int			user = find_user(derived, user_id);

	if (user >= 0)
		derived->events[user] = event_id;
}

static int
find_user(const MbDerived *derived, MbText user_id)
{
	return user_id.data == NULL ? -1 : mb_text_find(derived->users, derived->nusers, user_id);
}

/*
 * Step 7 in a subtransaction.  Only errors that the app's table or its
 * triggers are to blame for are kept; a lock in the way, a cancel or a lack
 * of resources are the caller's.  A user whose row is refused must not keep
 * the others' from being written: one of them may still show what this one
 * has got.
 */
static void
derive_guarded(MbBatch *batch)
{
	MbDerived  *derived = &batch->derived;
	ErrorData  *error = mb_subtransaction_run(derive, derived);

	if (error == NULL)
		return;
	rethrow_unless_kept(error);
	derived->rows = palloc0(derived->nusers * sizeof(MbAppRow));
	derived->row_changed = palloc0(derived->nusers * sizeof(bool));
	derived->nuncounted = derived->nclaimed = 0;
	batch->errors = palloc0(derived->nusers * sizeof(MbText));
	for (int i = 0; i < derived->nusers; i++)
	{
		MbDerived	one = {.catalog = derived->catalog,.users = &derived->users[i],.nusers = 1,.events = &derived->events[i]};

		if (derived->nusers > 1)
			error = mb_subtransaction_run(derive, &one);
		if (error == NULL)
		{
			derived->rows[i] = one.rows[0];
			derived->row_changed[i] = one.row_changed[0];
			if (one.nuncounted > 0)
			{
				derived->uncounted_customers = one.uncounted_customers;
				derived->nuncounted = one.nuncounted;
			}
			continue;
		}
		rethrow_unless_kept(error);
		batch->errors[i] = mb_error_text(error);
	}
}

static void
rethrow_unless_kept(ErrorData *error)
{
	if (mb_apply_is_conflict(error->sqlerrcode) || mb_error_is_fatal(error))
		ReThrowError(error);
}

static void
derive(void *arg)
{
	mb_derive(arg);
}

/*
 * Events that waited for a user who is known now are done: their
 * subscriptions' states were kept, and the user's row is derived from all of
 * them.  After the users' rows, because inbox rows are locked last.
 */
static void
end_waiting(MbBatch *batch)
{
	const MbDerived *derived = &batch->derived;
	MbText	   *linked = palloc((batch->ncustomers + derived->nclaimed + batch->nsubscriptions + 1) * sizeof(MbText));
	int			n = 0;
	bool		bound = false;

	for (int i = 0; i < batch->ncustomers; i++)
	{
		const MbBatchCustomer *customer = &batch->customers[i];

		bound |= customer->bound;
		if (customer->bound &&
			mb_text_find(derived->uncounted_customers, derived->nuncounted, customer->customer.customer_id) < 0)
			linked[n++] = customer->customer.customer_id;
	}

	/* where links changed, a claim may have begun to count */
	for (int i = 0; bound && i < derived->nclaimed; i++)
		linked[n++] = derived->claimed_customers[i];

	/* an event without a customer waits for its subscription's */
	for (int i = 0; i < batch->nsubscriptions; i++)
		if (batch->subscriptions[i].won_user)
			linked[n++] = batch->subscriptions[i].subscription.subscription_id;
	if (n > 0)
		mb_store_end_waiting(linked, n);
}

/* What each event came to. */
static void
finish(MbBatch *batch)
{
	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];
		const MbBatchSubscription *subscription;
		int			user;

		if (event->subscription < 0)
		{
			if (event->customer >= 0)
				event->user_id = batch->customers[event->customer].customer.user_id;
			continue;
		}
		subscription = &batch->subscriptions[event->subscription];
		event->user_id = subscription->subscription.user_id;
		if (event->user_id.data == NULL ||
			(subscription->subscription.weak_link &&
			 mb_text_find(batch->derived.uncounted_customers, batch->derived.nuncounted,
						  subscription->subscription.customer_id) >= 0))
		{
			event->outcome = MB_OUTCOME_WAITING;
			event->reason = MB_TEXT_LITERAL("unknown_user");
			event->waiting_for = subscription->subscription.customer_id;
			if (event->waiting_for.data == NULL)
				event->waiting_for = subscription->subscription.subscription_id;
			event->user_id = MB_NO_TEXT;
			continue;
		}
		if (event->conflict)
		{
			event->outcome = MB_OUTCOME_IGNORED;
			event->reason = MB_TEXT_LITERAL("link_conflict");
		}
		user = mb_text_find(batch->derived.users, batch->derived.nusers, event->user_id);
		if (user < 0 || batch->derived.rows == NULL)
			continue;
		if (batch->errors != NULL && batch->errors[user].data != NULL)
		{
			event->outcome = MB_OUTCOME_WAITING;
			event->reason = MB_TEXT_LITERAL("app_table_error");
			event->error = batch->errors[user];
			continue;
		}
		if (batch->derived.rows[user].exists)
			event->row = &batch->derived.rows[user].row;

		/* an earlier attempt of this event was applied, all but the row */
		if (event->outcome == MB_OUTCOME_DUPLICATE)
			event->outcome = batch->derived.row_changed[user] ? MB_OUTCOME_APPLIED : MB_OUTCOME_UNCHANGED;

		/* alone, it is what had a row written that was refused before */
		if (event->outcome == MB_OUTCOME_UNCHANGED && batch->nevents == 1 && batch->derived.row_changed[user])
			event->outcome = MB_OUTCOME_APPLIED;
	}
}

/* The id is the first member of both structs. */
int
mb_batch_find_subscription(const MbBatch *batch, MbText id)
{
	MbBatchSubscription *found = bsearch(&id, batch->subscriptions, batch->nsubscriptions, sizeof(MbBatchSubscription), mb_text_qsort_cmp);

	return found == NULL ? -1 : (int) (found - batch->subscriptions);
}

int
mb_batch_find_customer(const MbBatch *batch, MbText id)
{
	MbBatchCustomer *found = bsearch(&id, batch->customers, batch->ncustomers, sizeof(MbBatchCustomer), mb_text_qsort_cmp);

	return found == NULL ? -1 : (int) (found - batch->customers);
}
