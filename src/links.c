/*
 * links.c
 *	  Whose customers a batch's customers are.
 *
 * A link is a register of its customer (customer.c).  Links are offered by
 * events, by hand, and by rows that the app wrote itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "links.h"
#include "locks.h"
#include "store.h"

/* see lock_users() */
#define USER_LOCKS 256

static bool is_settled(const MbBatch *batch, const MbApplyEvent *event);
static bool names_another(const MbApplyEvent *event, const MbCustomer *customer);
static bool offer_links(MbBatch *batch, MbApplyEvent *event);
static void lock_users(const MbBatch *batch);
static void lock_customers(MbBatch *batch);
static bool has_state(const MbUserRow *row);
static MbApplyEvent adopted_event(const MbAppRow *row, const MbPlans *plans);

void
mb_links_read(MbBatch *batch)
{
	MbText	   *ids = palloc(Max(batch->ncustomers, 1) * sizeof(MbText));
	MbCustomer *found;
	int			nids = 0;
	int			n;

	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 && !is_settled(batch, &batch->events[i]))
			batch->customers[batch->events[i].customer].read = true;
	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].read)
			ids[nids++] = batch->customers[i].customer.customer_id;
	if (nids == 0)
		return;
	found = mb_store_read_customers(ids, nids, &n);
	for (int i = 0; i < n; i++)
		batch->customers[mb_batch_find_customer(batch, found[i].customer_id)].customer = found[i];
}

/*
 * Does the subscription's row show that the event cannot change the link?  It
 * says whose the customer is, like all of the customer's subscriptions, and
 * how old the link is at least; only an older event of the same user would
 * make it older.
 */
static bool
is_settled(const MbBatch *batch, const MbApplyEvent *event)
{
	const MbSubscription *known;

	if (event->subscription < 0 ||
		(event->event.kind != MB_EVENT_SUBSCRIPTION && event->event.kind != MB_EVENT_PAYMENT_FAILED))
		return false;
	known = &batch->subscriptions[event->subscription].subscription;
	if (known->user_id.data == NULL || !mb_text_eq(known->customer_id, event->event.customer_id))
		return false;
	return event->event.user_id.data == NULL ||
		(!known->weak_link && mb_text_eq(known->user_id, event->event.user_id) &&
		 known->link_created != MB_NO_TIME && event->event.created >= known->link_created);
}

MbApplyEvent *
mb_links_adopt(const MbBatch *batch, int *count)
{
	MbText	   *customers = palloc(Max(batch->ncustomers, 1) * sizeof(MbText));
	MbText	   *users = palloc(Max(3 * batch->nevents, 1) * sizeof(MbText));
	MbAppRow   *rows;
	int			ncustomers = 0;
	int			nusers = 0;
	int			nrows;

	*count = 0;
	for (int i = 0; i < batch->ncustomers; i++)
		if (batch->customers[i].read && batch->customers[i].customer.source == MB_LINK_NONE)
			customers[ncustomers++] = batch->customers[i].customer.customer_id;
	for (int i = 0; i < batch->nevents; i++)
	{
		const MbApplyEvent *event = &batch->events[i];
		const MbCustomer *customer;
		bool		is_linked;

		if (event->customer < 0 || !batch->customers[event->customer].read || event->event.kind == MB_EVENT_ADOPTED)
			continue;
		customer = &batch->customers[event->customer].customer;
		is_linked = customer->source != MB_LINK_NONE;
		if (is_linked && event->event.kind != MB_EVENT_LINKED && !names_another(event, customer) &&
			(event->subscription < 0 || batch->subscriptions[event->subscription].subscription.user_id.data != NULL))
			continue;
		if (event->event.user_id.data != NULL)
			users[nusers++] = event->event.user_id;
		if (event->event.client_reference_id.data != NULL)
			users[nusers++] = event->event.client_reference_id;
		if (is_linked)
			users[nusers++] = customer->user_id;
	}
	if (ncustomers == 0 && nusers == 0)
		return NULL;
	nusers = mb_text_sort_unique(users, nusers);
	rows = mb_app_table_find(users, nusers, customers, ncustomers, &nrows);
	return mb_links_adopt_rows(rows, nrows, &batch->catalog->plans, count);
}

/* Does an event name a user that its customer may be bound to in place of its own? */
static bool
names_another(const MbApplyEvent *event, const MbCustomer *customer)
{
	return event->event.user_id.data != NULL && !mb_text_eq(event->event.user_id, customer->user_id);
}

MbApplyEvent *
mb_links_adopt_rows(const MbAppRow *rows, int nrows, const MbPlans *plans, int *count)
{
	MbText	   *customer_ids;
	MbText	   *subscription_ids;
	MbCustomer *customers;
	MbText	   *subscriptions;
	MbApplyEvent *events;
	int			ncustomers = 0;
	int			nsubscriptions = 0;

	*count = 0;
	if (nrows == 0)
		return NULL;
	customer_ids = palloc(nrows * sizeof(MbText));
	subscription_ids = palloc(nrows * sizeof(MbText));
	events = palloc0(nrows * sizeof(MbApplyEvent));
	for (int i = 0; i < nrows; i++)
	{
		if (rows[i].row.customer_id.data != NULL)
			customer_ids[ncustomers++] = rows[i].row.customer_id;
		if (rows[i].row.subscription_id.data != NULL)
			subscription_ids[nsubscriptions++] = rows[i].row.subscription_id;
	}
	ncustomers = mb_text_sort_unique(customer_ids, ncustomers);
	customers = mb_store_read_customers(customer_ids, ncustomers, &ncustomers);
	nsubscriptions = mb_text_sort_unique(subscription_ids, nsubscriptions);
	subscriptions = mb_store_known_subscriptions(subscription_ids, nsubscriptions, &nsubscriptions);
	for (int i = 0; i < nrows; i++)
	{
		const MbUserRow *row = &rows[i].row;
		const MbCustomer *customer = bsearch(&row->customer_id, customers, ncustomers, sizeof(MbCustomer), mb_text_qsort_cmp);
		bool		is_linked = customer != NULL && customer->source != MB_LINK_NONE;
		bool		is_new = has_state(row) && mb_text_find(subscriptions, nsubscriptions, row->subscription_id) < 0;

		if (row->customer_id.data == NULL || rows[i].user_id.data == NULL || (is_linked && !is_new))
			continue;
		events[(*count)++] = adopted_event(&rows[i], plans);
	}
	return events;
}

/*
 * Links are first tried on an unlocked copy: in the common case nothing
 * changes, and then no customer is locked.  A link that is committed can be
 * relied on without a lock, because who rebinds a customer locks all of its
 * subscriptions that exist, and one that does not exist yet, or has no user,
 * takes the customer's lock here.
 */
void
mb_links_decide(MbBatch *batch)
{
	int			nlock = 0;

	if (batch->ncustomers == 0)
		return;
	for (int i = 0; i < batch->nevents; i++)
	{
		MbApplyEvent *event = &batch->events[i];

		if (event->customer >= 0 && batch->customers[event->customer].read &&
			(offer_links(batch, event) ||
			 (event->subscription >= 0 && batch->subscriptions[event->subscription].subscription.user_id.data == NULL)))
			batch->customers[event->customer].lock = true;
	}
	for (int i = 0; i < batch->ncustomers; i++)
		nlock += batch->customers[i].lock;
	if (nlock == 0)
		return;

	/* Now in earnest, from what the lock shows. */
	lock_users(batch);
	lock_customers(batch);
	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 && batch->customers[batch->events[i].customer].lock)
			offer_links(batch, &batch->events[i]);
}

/* Offer what the event says to its customer; true if the customer changes. */
static bool
offer_links(MbBatch *batch, MbApplyEvent *event)
{
	MbBatchCustomer *customer = &batch->customers[event->customer];
	MbCustomer	before = customer->customer;
	struct
	{
		MbText		user_id;
		MbLinkSource source;
	}			offers[] =
	{
		{event->event.user_id, MB_LINK_METADATA},
		{event->event.client_reference_id, MB_LINK_CLIENT_REFERENCE_ID},
	};
	bool		changed = false;

	if (event->event.kind == MB_EVENT_CUSTOMER_DELETED)
	{
		changed = !customer->customer.deleted;
		customer->customer.deleted = true;
	}
	else if (event->event.kind == MB_EVENT_LINKED)
	{
		/* a person's word replaces any other's */
		changed = customer->bound = true;
		customer->left_user = before.user_id;
		customer->customer.user_id = event->event.user_id;
		customer->customer.source = MB_LINK_MANUAL;
		customer->customer.created = event->event.created;
		offers[0].user_id = MB_NO_TEXT;
	}
	else if (event->event.kind == MB_EVENT_ADOPTED)
		offers[0].source = MB_LINK_MANUAL;
	for (int i = 0; i < (int) lengthof(offers); i++)
	{
		if (offers[i].user_id.data == NULL)
			continue;
		switch (mb_customer_offer(&customer->customer, offers[i].user_id, offers[i].source, event->event.created))
		{
			case MB_LINK_UNCHANGED:
				break;
			case MB_LINK_REFRESHED:
			case MB_LINK_BOUND:
				changed = true;
				break;
			case MB_LINK_CONFLICT:
				event->conflict = true;
				break;
		}
	}
	if (!changed)
		return false;
	if (event->event.kind != MB_EVENT_LINKED && !mb_text_eq(before.user_id, customer->customer.user_id))
	{
		if (!customer->bound)
			customer->left_user = before.user_id;
		customer->bound = true;
	}
	else if ((before.source == MB_LINK_CLIENT_REFERENCE_ID) != (customer->customer.source == MB_LINK_CLIENT_REFERENCE_ID))
		customer->bound = true;
	customer->changed = event->linked = true;
	return true;
}

/*
 * Whether a claim counts depends on the user's other customers, and a user
 * without a row in the app's table has nothing to be locked by.  So who makes
 * a claim keeps away, to the transaction's end, those who link customers of
 * the same user; these do not keep each other away.  Users share a few locks,
 * so that a large batch does not fill the lock table.
 */
static void
lock_users(const MbBatch *batch)
{
	LOCKMODE	modes[USER_LOCKS] = {NoLock};

	for (int i = 0; i < batch->ncustomers; i++)
	{
		const MbBatchCustomer *customer = &batch->customers[i];
		LOCKMODE	mode = customer->customer.source == MB_LINK_CLIENT_REFERENCE_ID ? ExclusiveLock : ShareLock;
		uint32		lock;

		if (!customer->lock || !customer->bound)
			continue;
		lock = hash_bytes((const unsigned char *) customer->customer.user_id.data, customer->customer.user_id.len) % USER_LOCKS;
		modes[lock] = Max(modes[lock], mode);
	}
	for (int i = 0; i < USER_LOCKS; i++)
		if (modes[i] != NoLock && !mb_lock(MB_LOCK_USERS, i, modes[i], !batch->careful))
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("somebody else is linking customers of the same user")));
}

static void
lock_customers(MbBatch *batch)
{
	MbText	   *ids = palloc(batch->ncustomers * sizeof(MbText));
	MbCustomer *locked;
	int			n = 0;

	for (int i = 0; i < batch->ncustomers; i++)
	{
		batch->customers[i].changed = batch->customers[i].bound = false;
		batch->customers[i].left_user = MB_NO_TEXT;
		if (batch->customers[i].lock)
			ids[n++] = batch->customers[i].customer.customer_id;
	}
	locked = mb_store_lock_customers(ids, n, &n);
	for (int i = 0; i < n; i++)
		batch->customers[mb_batch_find_customer(batch, locked[i].customer_id)].customer = locked[i];
	for (int i = 0; i < batch->nevents; i++)
		if (batch->events[i].customer >= 0 && batch->customers[batch->events[i].customer].lock)
			batch->events[i].conflict = batch->events[i].linked = false;
}

/* An inactive row says nothing of its subscription that access could depend on. */
static bool
has_state(const MbUserRow *row)
{
	return row->subscription_id.data != NULL && row->status <= MB_STATUS_CANCELED;
}

/*
 * What a row that the app wrote says of its subscription, until the
 * subscription itself says something; and whose its customer is.
 */
static MbApplyEvent
adopted_event(const MbAppRow *row, const MbPlans *plans)
{
	static const char *const statuses[] = {"active", "trialing", "past_due", "canceled"};
	MbApplyEvent event = {
		.event = {
			.kind = MB_EVENT_ADOPTED,
			.created = GetCurrentTransactionStartTimestamp(),
			.customer_id = row->row.customer_id,
			.user_id = row->user_id,
			.tier = mb_plans_find_tier(plans, row->row.tier),
			.price_id = row->row.price_id,
			.period_start = row->row.period_start,
			.period_end = row->row.period_end,
			.cancel_at = MB_NO_TIME,
			.cancel_at_period_end = row->row.cancel_at_period_end,
			.ended_at = MB_NO_TIME,
			.livemode = true,
		},
	};

	if (has_state(&row->row))
	{
		event.event.subscription_id = row->row.subscription_id;
		event.event.status = mb_text(statuses[row->row.status]);
	}
	return event;
}
