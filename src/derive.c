/*
 * derive.c
 *	  Users' rows from all of their subscriptions.
 *
 * A user's row is locked before the user's subscriptions are read, and these
 * are read under a fresh snapshot: two appliers of two subscriptions of one
 * user see each other's, whoever comes second.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "catalog.h"
#include "derive.h"
#include "grants.h"
#include "notify.h"
#include "settings.h"
#include "store.h"

static const MbSubscription **counted_subscriptions(MbDerived *derived, int *count);
static const MbSubscription **all_subscriptions(const MbDerived *derived, int *count);
static void derive_holders(const MbDerived *derived, const MbAppRow *current);
static bool release_subscriptions(MbDerived *derived, const MbAppRow *current);
static bool derive_user(MbDerived *derived, int user, const MbSubscription *const *subscriptions, int n,
						MbTime now, MbOtherAccess *access, int *naccess);
static bool shows_lost_subscription(const MbUserRow *row, const MbSubscription *const *subscriptions, int n);
static void write_effects(const MbDerived *derived, const MbAppRow *before,
						  const MbOtherAccess *access, int naccess, MbTime now);
static bool is_subscription(const MbOtherAccess *access);
static bool same_subscriptions(const MbOtherAccess *old, int nold, const MbOtherAccess *new, int nnew);
static bool record_change(const MbDerived *derived, int user, const MbAppRow *before, MbHistory *change);
static int	subscription_user_cmp(const void *a, const void *b);
static int	customer_user_cmp(const void *a, const void *b);

void
mb_derive(MbDerived *derived)
{
	const MbPlans *plans = &derived->catalog->plans;
	MbTime		now = GetCurrentTimestamp();
	bool	   *tried = palloc0(derived->nusers * sizeof(bool));
	MbAppRow   *before = palloc0(derived->nusers * sizeof(MbAppRow));

	derived->row_changed = palloc0(derived->nusers * sizeof(bool));

	/*
	 * A row that did not exist when the rows were locked may have been
	 * inserted by another applier since: then what we derived may miss that
	 * one's subscription, so look again.  The other rows are written by then;
	 * "before" is what they were before that.
	 */
	for (;;)
	{
		int			nlocked;
		MbAppRow   *locked = mb_app_table_lock(derived->users, derived->nusers, &nlocked);
		int			nsubscriptions;
		const MbSubscription **subscriptions = counted_subscriptions(derived, &nsubscriptions);
		MbAppRow   *writes = palloc(derived->nusers * sizeof(MbAppRow));
		MbAppRow   *current = palloc0(derived->nusers * sizeof(MbAppRow));
		MbOtherAccess *access = palloc(Max(nsubscriptions, 1) * sizeof(MbOtherAccess));
		int			naccess = 0;
		int			nwrites = 0;
		int			s = 0;

		for (int i = 0; i < nlocked; i++)
		{
			int			user = mb_text_find(derived->users, derived->nusers, locked[i].user_id);

			if (user < 0)
				continue;
			current[user] = locked[i];
			if (!derived->row_changed[user] ||
				(tried[user] && !mb_user_row_eq(&locked[i].row, &derived->rows[user].row)))
				before[user] = locked[i];
		}
		derived->rows = palloc(derived->nusers * sizeof(MbAppRow));
		memcpy(derived->rows, current, derived->nusers * sizeof(MbAppRow));

		for (int user = 0; user < derived->nusers; user++)
		{
			int			first = s;

			while (s < nsubscriptions && mb_text_eq(subscriptions[s]->user_id, derived->users[user]))
				s++;
			if (!derive_user(derived, user, subscriptions + first, s - first, now, access, &naccess))
				continue;
			derived->row_changed[user] = true;
			if (!derived->rows[user].exists && tried[user])
				ereport(ERROR,
						(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
						 errmsg("could not insert into table %s", mb_subscription_table),
						 errhint("A trigger or rule on the table suppresses inserts.")));
			tried[user] = !derived->rows[user].exists;
			writes[nwrites++] = derived->rows[user];
			derived->rows[user].exists = true;
		}
		derive_holders(derived, current);
		if (release_subscriptions(derived, current))
			for (int i = 0; i < nwrites; i++)
				ItemPointerSetInvalid(&writes[i].place);
		if (!mb_app_table_write(writes, nwrites))
			continue;

		for (int user = 0; user < derived->nusers; user++)
			if (derived->row_changed[user] && before[user].row.subscription_id.data == NULL &&
				derived->rows[user].row.subscription_id.data != NULL && before[user].exists)
				mb_grant_keep_row(&before[user], plans, now);
		write_effects(derived, before, access, naccess, now);
		return;
	}
}

/*
 * A claim by a client_reference_id (R27) counts if its user has no customer by
 * a stronger link, and if it is the oldest of the user's claims.  That is
 * decided here, from all that is known, and not when a claim comes, so that it
 * does not depend on which comes first.
 */
MbText *
mb_derive_uncounted(MbText *users, int nusers, int *count)
{
	MbText	   *result;
	MbCustomer *customers;
	int			ncustomers;

	*count = 0;
	if (nusers == 0)
		return NULL;

	nusers = mb_text_sort_unique(users, nusers);
	customers = mb_store_customers_of_users(users, nusers, &ncustomers);
	qsort(customers, ncustomers, sizeof(MbCustomer), customer_user_cmp);
	result = palloc(Max(ncustomers, 1) * sizeof(MbText));

	/* of each user, the best link comes first */
	for (int i = 1; i < ncustomers; i++)
		if (mb_text_eq(customers[i].user_id, customers[i - 1].user_id) && customers[i].source == MB_LINK_CLIENT_REFERENCE_ID)
			result[(*count)++] = customers[i].customer_id;
	*count = mb_text_sort_unique(result, *count);
	return result;
}

/* All subscriptions of the users that count for them, sorted by user. */
static const MbSubscription **
counted_subscriptions(MbDerived *derived, int *count)
{
	const MbSubscription **subscriptions = all_subscriptions(derived, count);
	MbText	   *claimants = palloc(Max(*count, 1) * sizeof(MbText));
	int			nclaimants = 0;
	int			n = 0;

	for (int i = 0; i < *count; i++)
		if (subscriptions[i]->weak_link)
			claimants[nclaimants++] = subscriptions[i]->user_id;
	derived->uncounted_customers = mb_derive_uncounted(claimants, nclaimants, &derived->nuncounted);
	derived->claimed_customers = palloc(Max(*count, 1) * sizeof(MbText));
	derived->nclaimed = 0;
	for (int i = 0; i < *count; i++)
	{
		if (subscriptions[i]->weak_link &&
			mb_text_find(derived->uncounted_customers, derived->nuncounted, subscriptions[i]->customer_id) >= 0)
			continue;
		if (subscriptions[i]->weak_link)
			derived->claimed_customers[derived->nclaimed++] = subscriptions[i]->customer_id;
		subscriptions[n++] = subscriptions[i];
	}
	*count = n;
	qsort(subscriptions, n, sizeof(MbSubscription *), subscription_user_cmp);
	return subscriptions;
}

/*
 * Most users have one subscription, and it is the one that was just written:
 * if the index has no other, none has to be read.  Who adds one from now on
 * will wait for the user's row, and see ours.
 */
static const MbSubscription **
all_subscriptions(const MbDerived *derived, int *count)
{
	MbText	   *users = palloc(derived->nusers * sizeof(MbText));
	ItemPointerData *roots = palloc(derived->nusers * sizeof(ItemPointerData));
	const MbSubscription **known = palloc(derived->nusers * sizeof(MbSubscription *));
	bool	   *only = palloc(derived->nusers * sizeof(bool));
	MbText	   *others = palloc(derived->nusers * sizeof(MbText));
	const MbSubscription **result;
	MbSubscription *read = NULL;
	int			n = 0;
	int			nothers = 0;
	int			nread = 0;

	for (int user = 0; user < derived->nusers; user++)
		if (derived->known != NULL && derived->known[user] != NULL)
		{
			users[n] = derived->users[user];
			roots[n] = derived->roots[user];
			known[n++] = derived->known[user];
		}
		else
			others[nothers++] = derived->users[user];
	if (n > 0)
		mb_store_have_only(users, roots, n, only);
	*count = 0;
	for (int i = 0; i < n; i++)
		if (only[i])
			known[(*count)++] = known[i];
		else
			others[nothers++] = users[i];
	if (nothers > 0)
		read = mb_store_subscriptions_of_users(others, nothers, &nread);
	result = palloc(Max(*count + nread, 1) * sizeof(MbSubscription *));
	memcpy(result, known, *count * sizeof(MbSubscription *));
	for (int i = 0; i < nread; i++)
		result[(*count)++] = &read[i];
	return result;
}

/*
 * Others whose rows still show a subscription that enters one of these: rows
 * that the app wrote, or that the table refused to change at the time.
 */
static void
derive_holders(const MbDerived *derived, const MbAppRow *current)
{
	MbDerived	others = {.catalog = derived->catalog};
	MbText	   *taken = palloc(derived->nusers * sizeof(MbText));
	MbAppRow   *holders;
	int			ntaken = 0;
	int			nholders;

	for (int user = 0; user < derived->nusers; user++)
		if (derived->rows[user].row.subscription_id.data != NULL &&
			!mb_text_eq(derived->rows[user].row.subscription_id, current[user].row.subscription_id))
			taken[ntaken++] = derived->rows[user].row.subscription_id;
	if (ntaken == 0)
		return;
	holders = mb_app_table_holders(taken, ntaken, &nholders);
	others.users = palloc(Max(nholders, 1) * sizeof(MbText));
	for (int i = 0; i < nholders; i++)
		if (holders[i].user_id.data != NULL && mb_text_find(derived->users, derived->nusers, holders[i].user_id) < 0)
			others.users[others.nusers++] = holders[i].user_id;
	others.nusers = mb_text_sort_unique(others.users, others.nusers);
	if (others.nusers > 0)
		mb_derive(&others);
}

/*
 * A subscription that goes from one user's row to another's must leave the
 * first before it enters the second, since its column is unique.  True if one
 * did: its row's place is another one then.
 */
static bool
release_subscriptions(MbDerived *derived, const MbAppRow *current)
{
	MbText	   *taken = palloc(derived->nusers * sizeof(MbText));
	MbAppRow   *releases = palloc(derived->nusers * sizeof(MbAppRow));
	int			ntaken = 0;
	int			n = 0;

	for (int user = 0; user < derived->nusers; user++)
		if (derived->rows[user].row.subscription_id.data != NULL &&
			!mb_text_eq(derived->rows[user].row.subscription_id, current[user].row.subscription_id))
			taken[ntaken++] = derived->rows[user].row.subscription_id;
	ntaken = mb_text_sort_unique(taken, ntaken);
	for (int user = 0; user < derived->nusers; user++)
		if (current[user].row.subscription_id.data != NULL &&
			!mb_text_eq(derived->rows[user].row.subscription_id, current[user].row.subscription_id) &&
			mb_text_find(taken, ntaken, current[user].row.subscription_id) >= 0)
		{
			releases[n] = derived->rows[user];
			releases[n++].row.subscription_id = MB_NO_TEXT;
		}
	mb_app_table_write(releases, n);
	return n > 0;
}

/*
 * One user's row and other entitlements from all of the user's subscriptions.
 * True if the row is to be written.
 */
static bool
derive_user(MbDerived *derived, int user, const MbSubscription *const *subscriptions, int n,
			MbTime now, MbOtherAccess *access, int *naccess)
{
	const MbPlans *plans = &derived->catalog->plans;
	MbAppRow   *app_row = &derived->rows[user];
	int			chosen = mb_entitlement_choose(subscriptions, n, plans, now);
	int			nstates = 0;
	bool		changed;
	MbUserRow	row;

	if (chosen >= 0)
		mb_entitlement_row(subscriptions[chosen], plans, &row);
	else if (app_row->exists && shows_lost_subscription(&app_row->row, subscriptions, n))
	{
		row = (MbUserRow)
		{
			.tier = plans->tiers[plans->default_tier].name,
			.status = MB_STATUS_INACTIVE,
			.period_start = MB_NO_TIME,
			.period_end = MB_NO_TIME,
		};
	}
	else
		return false;

	app_row->user_id = derived->users[user];
	changed = !app_row->exists || !mb_user_row_eq(&app_row->row, &row);
	app_row->row = row;

	/*
	 * When the chosen one's time ends, another may have to be shown: it is
	 * listed too, so that the worker finds the user then
	 * (mb_store_users_due).  What it gives, the row says: here it gives no
	 * more than everybody has.
	 */
	for (int i = 0; i < n; i++)
		nstates += subscriptions[i]->status.data != NULL;
	for (int i = 0; i < n && nstates > 1; i++)
	{
		MbUserRow	other;
		MbTime		until;

		if (subscriptions[i]->status.data == NULL)
			continue;
		mb_entitlement_row(subscriptions[i], plans, &other);
		until = mb_entitlement_until(&other, plans);
		if (i == chosen && until == INT64_MAX)
			continue;
		if (until == MB_NO_TIME || until <= now)
			continue;
		access[(*naccess)++] = (MbOtherAccess)
		{
			.user_id = derived->users[user],
			.source = MB_TEXT_LITERAL("subscription"),
			.ref = subscriptions[i]->subscription_id,
			.tier = i == chosen ? plans->tiers[plans->default_tier].name : other.tier,
			.valid_from = MB_NO_TIME,
			.valid_until = until == INT64_MAX ? MB_NO_TIME : until,
		};
	}
	return changed;
}

/* Is the subscription that a row shows another user's, or does it count for nobody? */
static bool
shows_lost_subscription(const MbUserRow *row, const MbSubscription *const *subscriptions, int n)
{
	int			known;

	if (row->subscription_id.data == NULL)
		return false;
	for (int i = 0; i < n; i++)
		if (mb_text_eq(subscriptions[i]->subscription_id, row->subscription_id))
			return false;

	/* one that we do not know is the app's own affair */
	mb_store_known_subscriptions(&row->subscription_id, 1, &known);
	return known > 0;
}

/*
 * The users' other entitlements, the history, and word of changed tiers.  Most
 * users have no other entitlement, before and after; then none is written,
 * and no session's cache is invalidated.
 */
static void
write_effects(const MbDerived *derived, const MbAppRow *before, const MbOtherAccess *access, int naccess, MbTime now)
{
	const MbPlans *plans = &derived->catalog->plans;
	MbHistory  *changes = palloc(derived->nusers * sizeof(MbHistory));
	MbOtherAccess *old = NULL;
	int			nold = 0;
	int			nchanges = 0;
	int			o = 0;
	int			a = 0;

	/* asked again, because whoever had the users' rows may have written some */
	if (mb_catalog_get()->has_other_access)
		old = mb_store_other_access(derived->users, derived->nusers, &nold);
	if (!same_subscriptions(old, nold, access, naccess))
		mb_store_replace_other_access(derived->users, derived->nusers, access, naccess);

	/* all are sorted by user; a tier grant counts before and after */
	for (int user = 0; user < derived->nusers; user++)
	{
		const MbAppRow *after = &derived->rows[user];
		int			first_old = o;
		int			first_new = a;
		int			ngrants = 0;
		int			from;
		int			to;

		while (o < nold && mb_text_eq(old[o].user_id, derived->users[user]))
			o++;
		while (a < naccess && mb_text_eq(access[a].user_id, derived->users[user]))
			a++;
		if (derived->row_changed[user] && record_change(derived, user, &before[user], &changes[nchanges]))
			nchanges++;
		if (!derived->row_changed[user] && o == first_old && a == first_new)
			continue;

		from = mb_entitlement_tier(before[user].exists ? &before[user].row : NULL, old + first_old, o - first_old, plans, now);
		for (int i = first_old; i < o; i++)
			if (!is_subscription(&old[i]))
				old[first_old + ngrants++] = old[i];
		to = Max(mb_entitlement_tier(after->exists ? &after->row : NULL, access + first_new, a - first_new, plans, now),
				 mb_entitlement_tier(NULL, old + first_old, ngrants, plans, now));
		if (from != to)
			mb_notify_tier(derived->users[user], plans->tiers[from].name, plans->tiers[to].name);
	}
	mb_store_add_history(changes, nchanges);
}

static bool
is_subscription(const MbOtherAccess *access)
{
	return mb_text_is(access->source, "subscription");
}

/* Do they tell the same?  Both are sorted by user, then by ref. */
static bool
same_subscriptions(const MbOtherAccess *old, int nold, const MbOtherAccess *new, int nnew)
{
	int			n = 0;

	for (int i = 0; i < nold; i++)
	{
		if (!is_subscription(&old[i]))
			continue;
		if (n == nnew || !mb_text_eq(old[i].user_id, new[n].user_id) || !mb_text_eq(old[i].ref, new[n].ref) ||
			!mb_text_eq(old[i].tier, new[n].tier) || old[i].valid_until != new[n].valid_until)
			return false;
		n++;
	}
	return n == nnew;
}

/* False if tier and status are as they were: a new period is no history. */
static bool
record_change(const MbDerived *derived, int user, const MbAppRow *before, MbHistory *change)
{
	const MbUserRow *after = &derived->rows[user].row;

	if (before->exists && before->row.status == after->status && mb_text_eq(before->row.tier, after->tier))
		return false;
	*change = (MbHistory)
	{
		.user_id = derived->users[user],
		.event_id = derived->events != NULL ? derived->events[user] : MB_NO_TEXT,
		.new_tier = after->tier,
		.new_status = mb_text(mb_status_label(after->status)),
	};
	if (before->exists)
	{
		change->old_tier = before->row.tier;
		change->old_status = mb_text(mb_status_label(before->row.status));
	}
	return true;
}

static int
subscription_user_cmp(const void *a, const void *b)
{
	const MbSubscription *x = *(const MbSubscription *const *) a;
	const MbSubscription *y = *(const MbSubscription *const *) b;
	int			cmp = mb_text_cmp(x->user_id, y->user_id);

	return cmp != 0 ? cmp : mb_text_cmp(x->subscription_id, y->subscription_id);
}

/* By user, then the strongest link first, then the oldest. */
static int
customer_user_cmp(const void *a, const void *b)
{
	const MbCustomer *x = a;
	const MbCustomer *y = b;
	int			cmp = mb_text_cmp(x->user_id, y->user_id);

	if (cmp == 0 && x->source != y->source)
		cmp = x->source > y->source ? -1 : 1;
	if (cmp == 0 && x->created != y->created)
		cmp = x->created < y->created ? -1 : 1;
	return cmp != 0 ? cmp : mb_text_cmp(x->customer_id, y->customer_id);
}
