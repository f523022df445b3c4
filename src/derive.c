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
#include "settings.h"
#include "store.h"

static void release_subscriptions(MbDerived *derived, const MbText *old_subscriptions);
static void derive_user(MbDerived *derived, int user, const MbSubscription *const *subscriptions, int n,
						MbTime now, MbOtherAccess *access, int *naccess);
static void write_other_access(MbDerived *derived, const MbOtherAccess *access, int naccess);
static int	subscription_user_cmp(const void *a, const void *b);

void
mb_derive(MbDerived *derived)
{
	MbTime		now = GetCurrentTimestamp();
	bool	   *tried = palloc0(derived->nusers * sizeof(bool));

	/*
	 * A row that did not exist when the rows were locked may have been
	 * inserted by another applier since: then what we derived may miss that
	 * one's subscription, so look again.
	 */
	for (;;)
	{
		int			nlocked;
		MbAppRow   *locked = mb_app_table_lock(derived->users, derived->nusers, &nlocked);
		int			nsubscriptions;
		MbSubscription *subscriptions = mb_store_subscriptions_of_users(derived->users, derived->nusers, &nsubscriptions);
		const MbSubscription **sorted = palloc(Max(nsubscriptions, 1) * sizeof(MbSubscription *));
		MbAppRow   *writes = palloc(derived->nusers * sizeof(MbAppRow));
		MbText	   *old_subscriptions = palloc0(derived->nusers * sizeof(MbText));
		MbOtherAccess *access = palloc(Max(nsubscriptions, 1) * sizeof(MbOtherAccess));
		int			naccess = 0;
		int			nwrites = 0;
		int			s = 0;

		derived->rows = palloc0(derived->nusers * sizeof(MbAppRow));
		derived->row_changed = palloc0(derived->nusers * sizeof(bool));
		for (int i = 0; i < nlocked; i++)
		{
			int			user = mb_text_find(derived->users, derived->nusers, locked[i].user_id);

			if (user < 0)
				continue;
			derived->rows[user] = locked[i];
			old_subscriptions[user] = locked[i].row.subscription_id;
		}
		for (int i = 0; i < nsubscriptions; i++)
			sorted[i] = &subscriptions[i];
		qsort(sorted, nsubscriptions, sizeof(MbSubscription *), subscription_user_cmp);

		for (int user = 0; user < derived->nusers; user++)
		{
			int			first = s;

			while (s < nsubscriptions && mb_text_eq(sorted[s]->user_id, derived->users[user]))
				s++;
			derive_user(derived, user, sorted + first, s - first, now, access, &naccess);
			if (!derived->row_changed[user])
				continue;
			if (!derived->rows[user].exists && tried[user])
				ereport(ERROR,
						(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
						 errmsg("could not insert into table %s", mb_subscription_table),
						 errhint("A trigger or rule on the table suppresses inserts.")));
			tried[user] = !derived->rows[user].exists;
			writes[nwrites++] = derived->rows[user];
			derived->rows[user].exists = true;
		}
		release_subscriptions(derived, old_subscriptions);
		if (mb_app_table_write(writes, nwrites))
		{
			write_other_access(derived, access, naccess);
			return;
		}
	}
}

/*
 * A subscription that goes from one user's row to another's must leave the
 * first before it enters the second, since its column is unique.
 */
static void
release_subscriptions(MbDerived *derived, const MbText *old_subscriptions)
{
	MbText	   *taken = palloc(derived->nusers * sizeof(MbText));
	MbAppRow   *releases = palloc(derived->nusers * sizeof(MbAppRow));
	int			ntaken = 0;
	int			n = 0;

	for (int user = 0; user < derived->nusers; user++)
		if (derived->row_changed[user] && derived->rows[user].row.subscription_id.data != NULL &&
			!mb_text_eq(derived->rows[user].row.subscription_id, old_subscriptions[user]))
			taken[ntaken++] = derived->rows[user].row.subscription_id;
	ntaken = mb_text_sort_unique(taken, ntaken);
	for (int user = 0; user < derived->nusers; user++)
		if (derived->row_changed[user] && old_subscriptions[user].data != NULL &&
			!mb_text_eq(derived->rows[user].row.subscription_id, old_subscriptions[user]) &&
			mb_text_find(taken, ntaken, old_subscriptions[user]) >= 0)
		{
			releases[n] = derived->rows[user];
			releases[n++].row.subscription_id = MB_NO_TEXT;
		}
	mb_app_table_write(releases, n);
}

/* One user's row and other entitlements from all of the user's subscriptions. */
static void
derive_user(MbDerived *derived, int user, const MbSubscription *const *subscriptions, int n,
			MbTime now, MbOtherAccess *access, int *naccess)
{
	const MbPlans *plans = &derived->catalog->plans;
	MbAppRow   *app_row = &derived->rows[user];
	int			chosen = mb_entitlement_choose(subscriptions, n, plans, now);
	MbUserRow	row;

	if (chosen >= 0)
		mb_entitlement_row(subscriptions[chosen], plans, &row);
	else if (app_row->exists && n == 0)
	{
		/* The only subscription went to another user. */
		row = (MbUserRow)
		{
			.tier = plans->tiers[plans->default_tier].name,
			.status = MB_STATUS_INACTIVE,
			.period_start = MB_NO_TIME,
			.period_end = MB_NO_TIME,
		};
	}
	else
		return;

	app_row->user_id = derived->users[user];
	derived->row_changed[user] = !app_row->exists || !mb_user_row_eq(&app_row->row, &row);
	app_row->row = row;

	for (int i = 0; i < n; i++)
	{
		MbUserRow	other;
		MbTime		until;

		if (i == chosen || subscriptions[i]->status.data == NULL)
			continue;
		mb_entitlement_row(subscriptions[i], plans, &other);
		until = mb_entitlement_until(other.status, other.period_end);
		if (until == MB_NO_TIME || until <= now)
			continue;
		access[(*naccess)++] = (MbOtherAccess)
		{
			.user_id = derived->users[user],
			.source = MB_TEXT_LITERAL("subscription"),
			.ref = subscriptions[i]->subscription_id,
			.tier = other.tier,
			.valid_from = MB_NO_TIME,
			.valid_until = until == INT64_MAX ? MB_NO_TIME : until,
		};
	}
}

/*
 * Replace what differs.  Most users have none, before and after; then
 * nothing is written, and no session's cache is invalidated.
 */
static void
write_other_access(MbDerived *derived, const MbOtherAccess *access, int naccess)
{
	int			nold;
	MbOtherAccess *old;
	bool		same;

	/* asked again, because whoever had the users' rows may have written some */
	if (naccess == 0 && !mb_catalog_get()->has_other_access)
		return;
	old = mb_store_other_access(derived->users, derived->nusers, &nold);
	same = nold == naccess;

	/* both are sorted by user, then by ref */
	for (int i = 0; same && i < nold; i++)
		same = mb_text_eq(old[i].user_id, access[i].user_id) && mb_text_eq(old[i].ref, access[i].ref) &&
			mb_text_eq(old[i].tier, access[i].tier) && old[i].valid_until == access[i].valid_until;
	if (!same)
		mb_store_replace_other_access(derived->users, derived->nusers, access, naccess);
}

static int
subscription_user_cmp(const void *a, const void *b)
{
	const MbSubscription *x = *(const MbSubscription *const *) a;
	const MbSubscription *y = *(const MbSubscription *const *) b;
	int			cmp = mb_text_cmp(x->user_id, y->user_id);

	return cmp != 0 ? cmp : mb_text_cmp(x->subscription_id, y->subscription_id);
}
