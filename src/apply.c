/*
 * apply.c
 *	  From events to rows: one batch, or one event, in the caller's
 *	  transaction.
 *
 * The way of a batch:
 *	1. which subscriptions and customers are the events about?
 *	2. lock customers whose link is unknown or would change
 *	3. lock the subscriptions (all of a customer's, if its user changes)
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
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "apply.h"
#include "catalog.h"
#include "derive.h"
#include "json_jsonb.h"
#include "settings.h"
#include "spi.h"
#include "store.h"
#include "subtransaction.h"

typedef struct Customer
{
	MbCustomer	customer;
	bool		lock;
	bool		changed;
	bool		bound;			/* to a user, or to another one */
} Customer;

typedef struct Subscription
{
	MbSubscription subscription;
	bool		has_user;		/* before it was locked */
	bool		exists;
	bool		changed;
	MbText		left_user;		/* who had it before its customer was bound */
	int			customer;		/* -1: not known */
} Subscription;

typedef struct Batch
{
	const MbCatalog *catalog;
	MbApplyEvent *events;
	int			nevents;
	Subscription *subscriptions;	/* sorted by id */
	int			nsubscriptions;
	Customer   *customers;		/* sorted by id */
	int			ncustomers;
	MbDerived	derived;		/* of every user concerned */
	MbText		error;			/* why the app's table was not written */
} Batch;

static void collect(Batch *batch);
static bool is_wanted(const MbApplyEvent *event);
static void decide_links(Batch *batch);
static bool *refuse_references(const Batch *batch);
static bool offer_link(Batch *batch, MbApplyEvent *event, bool references_refused);
static void lock_customers(Batch *batch);
static void lock_subscriptions(Batch *batch);
static void decide_states(Batch *batch);
static void write_ours(Batch *batch);
static void collect_users(Batch *batch);
static void derive_guarded(Batch *batch);
static void derive(void *arg);
static void end_waiting(Batch *batch);
static void finish(Batch *batch);
static int	find_subscription(const Batch *batch, MbText id);
static int	find_customer(const Batch *batch, MbText id);
static int	customer_user_cmp(const void *a, const void *b);

void
mb_apply_events(MbApplyEvent *events, int nevents, bool guarded)
{
	Batch		batch = {.events = events,.nevents = nevents};

	mb_store_begin();
	batch.catalog = batch.derived.catalog = mb_catalog_get();
	collect(&batch);
	if (batch.nsubscriptions == 0)
		return;

	/* A missing table is an error before any row is locked. */
	mb_app_table_lock_table();

	decide_links(&batch);
	lock_subscriptions(&batch);
	decide_states(&batch);
	write_ours(&batch);
	collect_users(&batch);
	if (batch.derived.nusers > 0)
	{
		if (guarded)
			derive_guarded(&batch);
		else
			mb_derive(&batch.derived);
	}
	end_waiting(&batch);
	finish(&batch);
}

void
mb_apply_read(Jsonb *payload, const MbPlans *plans, MbApplyEvent *event)
{
	MbEvent    *read = &event->event;

	mb_event_read(mb_json_from_jsonb(payload), plans, mb_livemode, read);
	if (read->kind == MB_EVENT_IGNORED)
		return;
	if (read->user_id.data != NULL)
		read->user_id = mb_app_table_canonical_user(read->user_id);
	if (read->client_reference_id.data != NULL)
		read->client_reference_id = mb_app_table_canonical_user(read->client_reference_id);
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

/* Step 1: the subscriptions and customers, sorted, each once. */
static void
collect(Batch *batch)
{
	MbText	   *ids = palloc(Max(batch->nevents, 1) * sizeof(MbText));
	int			n = 0;

	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];

		event->subscription = event->customer = -1;
		event->outcome = MB_OUTCOME_IGNORED;
		event->reason = mb_text(event->event.reason);
		if (is_wanted(event))
			ids[n++] = event->event.subscription_id;
	}
	n = mb_text_sort_unique(ids, n);
	batch->nsubscriptions = n;
	batch->subscriptions = palloc0(Max(n, 1) * sizeof(Subscription));
	for (int i = 0; i < n; i++)
	{
		mb_subscription_init(&batch->subscriptions[i].subscription, ids[i]);
		batch->subscriptions[i].customer = -1;
	}

	n = 0;
	for (int i = 0; i < batch->nevents; i++)
		if (is_wanted(&batch->events[i]) && batch->events[i].event.customer_id.data != NULL)
			ids[n++] = batch->events[i].event.customer_id;
	n = mb_text_sort_unique(ids, n);
	batch->ncustomers = n;
	batch->customers = palloc0(Max(n, 1) * sizeof(Customer));
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
		event->subscription = find_subscription(batch, event->event.subscription_id);
		if (event->event.customer_id.data == NULL)
			continue;
		event->customer = find_customer(batch, event->event.customer_id);
		batch->subscriptions[event->subscription].customer = event->customer;
	}
}

static bool
is_wanted(const MbApplyEvent *event)
{
	return event->event.kind != MB_EVENT_IGNORED && !event->busy;
}

/*
 * Step 2.  Links are first tried on an unlocked copy: in the common case
 * nothing changes, and then no customer is locked.  A link that is committed
 * can be relied on without a lock, because who rebinds a customer locks all
 * of its subscriptions that exist, and one that does not exist yet, or has no
 * user, takes the customer's lock here.
 */
static void
decide_links(Batch *batch)
{
	MbText	   *ids;
	MbText	   *with_user;
	MbCustomer *found;
	bool	   *references_refused;
	int			n;
	int			nlock = 0;

	ids = palloc(Max(batch->nsubscriptions, batch->nevents) * sizeof(MbText));
	for (int i = 0; i < batch->nsubscriptions; i++)
		ids[i] = batch->subscriptions[i].subscription.subscription_id;
	with_user = mb_store_subscriptions_with_user(ids, batch->nsubscriptions, &n);
	for (int i = 0; i < n; i++)
		batch->subscriptions[find_subscription(batch, with_user[i])].has_user = true;
	if (batch->ncustomers == 0)
		return;

	references_refused = refuse_references(batch);
	for (int i = 0; i < batch->ncustomers; i++)
		ids[i] = batch->customers[i].customer.customer_id;
	found = mb_store_read_customers(ids, batch->ncustomers, &n);
	for (int i = 0; i < n; i++)
		batch->customers[find_customer(batch, found[i].customer_id)].customer = found[i];
	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 &&
			(offer_link(batch, &batch->events[i], references_refused[i]) ||
			 !batch->subscriptions[batch->events[i].subscription].has_user))
			batch->customers[batch->events[i].customer].lock = true;
	for (int i = 0; i < batch->ncustomers; i++)
		nlock += batch->customers[i].lock;
	if (nlock == 0)
		return;

	/* Now in earnest, from what the lock shows. */
	lock_customers(batch);
	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 && batch->customers[batch->events[i].customer].lock)
			offer_link(batch, &batch->events[i], references_refused[i]);
}

/*
 * R27: a client_reference_id counts only for a user who has no other customer.
 * Per event, whether it does not.
 */
static bool *
refuse_references(const Batch *batch)
{
	bool	   *result = palloc0(batch->nevents * sizeof(bool));
	MbText	   *users = palloc(batch->nevents * sizeof(MbText));
	MbCustomer *others;
	int			nusers = 0;
	int			nothers;

	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 && batch->events[i].event.client_reference_id.data != NULL)
			users[nusers++] = batch->events[i].event.client_reference_id;
	if (nusers == 0)
		return result;
	others = mb_store_customers_of_users(users, mb_text_sort_unique(users, nusers), &nothers);
	qsort(others, nothers, sizeof(MbCustomer), customer_user_cmp);
	for (int i = 0; i < batch->nevents; i++)
	{
		const MbEvent *event = &batch->events[i].event;
		const MbCustomer key = {.user_id = event->client_reference_id};
		const MbCustomer *other;

		if (batch->events[i].customer < 0 || key.user_id.data == NULL)
			continue;
		other = bsearch(&key, others, nothers, sizeof(MbCustomer), customer_user_cmp);
		if (other == NULL)
			continue;
		while (other > others && mb_text_eq(other[-1].user_id, key.user_id))
			other--;
		for (; other < others + nothers && mb_text_eq(other->user_id, key.user_id); other++)
			result[i] |= !mb_text_eq(other->customer_id, event->customer_id);
	}
	return result;
}

/* Offer the event's links to its customer; true if the customer changes. */
static bool
offer_link(Batch *batch, MbApplyEvent *event, bool references_refused)
{
	Customer   *customer = &batch->customers[event->customer];
	struct
	{
		MbText		user_id;
		MbLinkSource source;
	}			offers[] =
	{
		{event->event.user_id, MB_LINK_METADATA},
		{references_refused ? MB_NO_TEXT : event->event.client_reference_id, MB_LINK_CLIENT_REFERENCE_ID},
	};
	bool		changed = false;

	for (int i = 0; i < (int) lengthof(offers); i++)
	{
		if (offers[i].user_id.data == NULL)
			continue;
		switch (mb_customer_offer(&customer->customer, offers[i].user_id, offers[i].source, event->event.created))
		{
			case MB_LINK_UNCHANGED:
				break;
			case MB_LINK_BOUND:
				customer->bound = true;
				/* FALLTHROUGH */
			case MB_LINK_REFRESHED:
				customer->changed = event->linked = changed = true;
				break;
			case MB_LINK_CONFLICT:
				event->conflict = true;
				break;
		}
	}
	return changed;
}

static void
lock_customers(Batch *batch)
{
	MbText	   *ids = palloc(batch->ncustomers * sizeof(MbText));
	MbCustomer *locked;
	int			n = 0;

	for (int i = 0; i < batch->ncustomers; i++)
	{
		batch->customers[i].changed = batch->customers[i].bound = false;
		if (batch->customers[i].lock)
			ids[n++] = batch->customers[i].customer.customer_id;
	}
	locked = mb_store_lock_customers(ids, n, &n);
	for (int i = 0; i < n; i++)
		batch->customers[find_customer(batch, locked[i].customer_id)].customer = locked[i];
	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 && batch->customers[batch->events[i].customer].lock)
			batch->events[i].conflict = batch->events[i].linked = false;
}

/* Step 3: also the other subscriptions of customers whose user changes. */
static void
lock_subscriptions(Batch *batch)
{
	MbText	   *ids = palloc(batch->nsubscriptions * sizeof(MbText));
	MbText	   *bound = palloc(Max(batch->ncustomers, 1) * sizeof(MbText));
	MbSubscription *locked;
	Subscription *old = batch->subscriptions;
	int			nold = batch->nsubscriptions;
	int			nbound = 0;
	int			nlocked;
	int			n = 0;
	int			o = 0;

	for (int i = 0; i < nold; i++)
		ids[i] = old[i].subscription.subscription_id;
	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].bound)
			bound[nbound++] = batch->customers[i].customer.customer_id;
	locked = mb_store_lock_subscriptions(ids, nold, bound, nbound, &nlocked);

	/* Both are sorted by id: merge what is locked into what is asked for. */
	batch->subscriptions = palloc0((nold + nlocked) * sizeof(Subscription));
	for (int l = 0; l < nlocked || o < nold;)
	{
		Subscription *subscription = &batch->subscriptions[n++];
		int			cmp = l == nlocked ? -1 : 1;

		if (l < nlocked && o < nold)
			cmp = mb_text_cmp(old[o].subscription.subscription_id, locked[l].subscription_id);
		subscription->customer = -1;
		if (cmp <= 0)
			*subscription = old[o++];
		if (cmp >= 0)
		{
			subscription->subscription = locked[l++];
			subscription->exists = true;
			if (subscription->customer < 0 && subscription->subscription.customer_id.data != NULL)
				subscription->customer = find_customer(batch, subscription->subscription.customer_id);
		}
	}
	batch->nsubscriptions = n;
	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].subscription >= 0)
			batch->events[i].subscription = find_subscription(batch, batch->events[i].event.subscription_id);
}

/* Step 4. */
static void
decide_states(Batch *batch)
{
	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];
		Subscription *subscription;

		if (event->subscription < 0)
			continue;
		subscription = &batch->subscriptions[event->subscription];
		event->outcome = mb_subscription_apply(&subscription->subscription, &event->event,
											   &batch->catalog->plans, &subscription->changed);
		if (event->linked && event->outcome == MB_OUTCOME_UNCHANGED)
			event->outcome = MB_OUTCOME_APPLIED;
		if (event->event.kind == MB_EVENT_SUBSCRIPTION &&
			event->event.tier == MB_NO_TIER && event->event.price_id.data != NULL)
			event->reason = MB_TEXT_LITERAL("unknown_price");
		else if (event->event.kind == MB_EVENT_SUBSCRIPTION &&
				 mb_status_class(event->event.status) == MB_CLASS_UNKNOWN)
			event->reason = MB_TEXT_LITERAL("unknown_status");
		else if (event->outcome == MB_OUTCOME_STALE)
			event->reason = MB_TEXT_LITERAL("older_than_state");
	}

	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		Subscription *subscription = &batch->subscriptions[i];
		MbText		user_id;

		/*
		 * An unlocked customer may have been bound to another user since it
		 * was read; then its subscriptions, which are locked now, say so.
		 */
		if (subscription->customer < 0 ||
			(subscription->subscription.user_id.data != NULL && !batch->customers[subscription->customer].lock))
			continue;
		user_id = batch->customers[subscription->customer].customer.user_id;
		if (user_id.data == NULL || mb_text_eq(user_id, subscription->subscription.user_id))
			continue;
		subscription->left_user = subscription->subscription.user_id;
		subscription->subscription.user_id = user_id;
		subscription->changed = true;
	}
}

/* Step 5. */
static void
write_ours(Batch *batch)
{
	MbCustomer *customers = palloc(Max(batch->ncustomers, 1) * sizeof(MbCustomer));
	const MbSubscription **inserts = palloc(batch->nsubscriptions * sizeof(MbSubscription *));
	const MbSubscription **updates = palloc(batch->nsubscriptions * sizeof(MbSubscription *));
	int			ncustomers = 0;
	int			ninserts = 0;
	int			nupdates = 0;

	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].changed)
			customers[ncustomers++] = batch->customers[i].customer;
	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		const Subscription *subscription = &batch->subscriptions[i];

		if (!subscription->exists)
			inserts[ninserts++] = &subscription->subscription;
		else if (subscription->changed)
			updates[nupdates++] = &subscription->subscription;
	}
	mb_store_save_customers(customers, ncustomers);
	mb_store_insert_subscriptions(inserts, ninserts);
	mb_store_update_subscriptions(updates, nupdates);
}

/*
 * The users whose rows are derived: of every subscription in the batch,
 * changed or not, since a row may be missing from an earlier attempt that the
 * app's table refused; and those who lost a subscription.
 */
static void
collect_users(Batch *batch)
{
	int			n = 0;

	batch->derived.users = palloc(2 * batch->nsubscriptions * sizeof(MbText));
	for (int i = 0; i < batch->nsubscriptions; i++)
	{
		if (batch->subscriptions[i].subscription.user_id.data != NULL)
			batch->derived.users[n++] = batch->subscriptions[i].subscription.user_id;
		if (batch->subscriptions[i].left_user.data != NULL)
			batch->derived.users[n++] = batch->subscriptions[i].left_user;
	}
	batch->derived.nusers = mb_text_sort_unique(batch->derived.users, n);
}

/*
 * Step 6 in a subtransaction.  Only errors that the app's table or its
 * triggers are to blame for are kept; a lock in the way, a cancel or a lack
 * of resources are the caller's.
 */
static void
derive_guarded(Batch *batch)
{
	ErrorData  *error = mb_subtransaction_run(derive, &batch->derived);

	if (error == NULL)
		return;
	if (mb_apply_is_conflict(error->sqlerrcode) || mb_error_is_fatal(error))
		ReThrowError(error);
	batch->error = mb_text(psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message));
	batch->derived.rows = NULL;
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
end_waiting(Batch *batch)
{
	MbText	   *bound = palloc(Max(batch->ncustomers, 1) * sizeof(MbText));
	int			n = 0;

	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].bound)
			bound[n++] = batch->customers[i].customer.customer_id;
	if (n > 0)
		mb_store_end_waiting(bound, n);
}

/* What each event came to. */
static void
finish(Batch *batch)
{
	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];
		const Subscription *subscription;
		int			user;

		if (event->subscription < 0)
			continue;
		subscription = &batch->subscriptions[event->subscription];
		event->user_id = subscription->subscription.user_id;
		if (event->user_id.data == NULL)
		{
			event->outcome = MB_OUTCOME_WAITING;
			event->reason = MB_TEXT_LITERAL("unknown_user");
			event->waiting_for = subscription->subscription.customer_id;
			continue;
		}
		if (event->conflict)
		{
			event->outcome = MB_OUTCOME_IGNORED;
			event->reason = MB_TEXT_LITERAL("link_conflict");
		}
		if (batch->error.data != NULL)
		{
			event->outcome = MB_OUTCOME_WAITING;
			event->reason = MB_TEXT_LITERAL("app_table_error");
			event->error = batch->error;
			continue;
		}
		user = mb_text_find(batch->derived.users, batch->derived.nusers, event->user_id);
		if (user < 0 || batch->derived.rows == NULL)
			continue;
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
static int
find_subscription(const Batch *batch, MbText id)
{
	Subscription *found = bsearch(&id, batch->subscriptions, batch->nsubscriptions, sizeof(Subscription), mb_text_qsort_cmp);

	return found == NULL ? -1 : (int) (found - batch->subscriptions);
}

static int
find_customer(const Batch *batch, MbText id)
{
	Customer   *found = bsearch(&id, batch->customers, batch->ncustomers, sizeof(Customer), mb_text_qsort_cmp);

	return found == NULL ? -1 : (int) (found - batch->customers);
}

static int
customer_user_cmp(const void *a, const void *b)
{
	return mb_text_cmp(((const MbCustomer *) a)->user_id, ((const MbCustomer *) b)->user_id);
}
