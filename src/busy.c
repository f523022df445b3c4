/*
 * busy.c
 *	  Which events of a batch would wait for somebody else's lock.
 *
 * A client that sits in a transaction with a user's row must stop that user's
 * events and no others.  The worker looks at this only after a batch ran into
 * a lock, so it costs nothing while nobody is in the way; a client's drain,
 * which must not wait, does so always.  The locks are taken in the order in
 * which apply.c takes them, but for the advisory ones of users: whether they
 * are needed, the links tell; apply.c does not wait for them then.
 */
#include "postgres.h"

#include "app_table.h"
#include "busy.h"
#include "store.h"

/* Ids, looked up by a bytewise binary search. */
typedef struct IdSet
{
	MbText	   *ids;
	int			count;
} IdSet;

static IdSet busy_ids(const MbLocked *rows, int count, IdSet *users);
static bool contains(const IdSet *set, MbText id);
static void add(IdSet *set, MbText id);
static void sort(IdSet *set);

int
mb_busy_find(MbApplyEvent *events, int nevents)
{
	IdSet		ids = {palloc(Max(nevents, 1) * sizeof(MbText)), 0};
	IdSet		users = {palloc((4 * nevents + 1) * sizeof(MbText)), 0};
	IdSet		busy_customers;
	IdSet		busy_subscriptions;
	IdSet		busy_users;
	MbLocked   *customers;
	MbLocked   *subscriptions;
	int			ncustomers;
	int			nsubscriptions;
	int			nbusy = 0;

	mb_store_begin();
	mb_app_table_lock_table();
	for (int i = 0; i < nevents; i++)
		if (events[i].event.kind != MB_EVENT_IGNORED)
			add(&ids, events[i].event.customer_id);
	sort(&ids);
	customers = mb_store_lock_free_customers(ids.ids, ids.count, &ncustomers);
	busy_customers = busy_ids(customers, ncustomers, &users);

	ids.count = 0;
	for (int i = 0; i < nevents; i++)
		if (events[i].event.kind != MB_EVENT_IGNORED)
			add(&ids, events[i].event.subscription_id);
	sort(&ids);
	subscriptions = mb_store_lock_free_subscriptions(ids.ids, ids.count, &nsubscriptions);
	busy_subscriptions = busy_ids(subscriptions, nsubscriptions, &users);

	for (int i = 0; i < nevents; i++)
	{
		if (events[i].event.kind == MB_EVENT_IGNORED)
			continue;
		add(&users, events[i].event.user_id);
		add(&users, events[i].event.client_reference_id);
	}
	sort(&users);
	busy_users.ids = mb_app_table_lock_free(users.ids, users.count, &busy_users.count);
	sort(&busy_users);

	/* An event is about its own ids, and about whose they are. */
	for (int i = 0; i < ncustomers; i++)
		if (contains(&busy_users, customers[i].user_id))
			add(&busy_customers, customers[i].id);
	for (int i = 0; i < nsubscriptions; i++)
		if (contains(&busy_users, subscriptions[i].user_id))
			add(&busy_subscriptions, subscriptions[i].id);
	sort(&busy_customers);
	sort(&busy_subscriptions);

	for (int i = 0; i < nevents; i++)
	{
		const MbEvent *event = &events[i].event;

		events[i].busy = event->kind != MB_EVENT_IGNORED &&
			(contains(&busy_customers, event->customer_id) ||
			 contains(&busy_subscriptions, event->subscription_id) ||
			 contains(&busy_users, event->user_id) ||
			 contains(&busy_users, event->client_reference_id));
		nbusy += events[i].busy;
	}
	return nbusy;
}

int
mb_busy_leave_free(MbText *users, int nusers)
{
	IdSet		busy;
	int			n = 0;

	busy.ids = mb_app_table_lock_free(users, nusers, &busy.count);
	sort(&busy);
	for (int i = 0; i < nusers; i++)
		if (!contains(&busy, users[i]))
			users[n++] = users[i];
	return n;
}

/* The busy ones, with room for all, unsorted; and everybody's users. */
static IdSet
busy_ids(const MbLocked *rows, int count, IdSet *users)
{
	IdSet		result = {palloc((2 * count + 1) * sizeof(MbText)), 0};

	for (int i = 0; i < count; i++)
	{
		if (rows[i].busy)
			add(&result, rows[i].id);
		add(users, rows[i].user_id);
	}
	return result;
}

static bool
contains(const IdSet *set, MbText id)
{
	return id.data != NULL && mb_text_find(set->ids, set->count, id) >= 0;
}

static void
add(IdSet *set, MbText id)
{
	if (id.data != NULL)
		set->ids[set->count++] = id;
}

static void
sort(IdSet *set)
{
	set->count = mb_text_sort_unique(set->ids, set->count);
}
