/*
 * remember.c
 *	  Which events a subscription has to remember.  Pure.
 *
 * An event of an older second may come at any time, and then be put in order
 * with others of its second.  What holds a register of a second is known; the
 * others of that second are remembered here.  So is what no register holds and
 * what may turn out to lie between a fall and a recovery of one second: that
 * is over when the subscription is seen live in a later one, which in a steady
 * life every event does.
 */
#include "chain.h"
#include "remember.h"

/*
 * A subscription that is never seen live again, but changes, would remember
 * all of that.
 */
#define MAX_REMEMBERED (2 * MB_MAX_CHAIN)

/* The list that is being made. */
typedef struct List
{
	const MbSubscription *subscription;
	MbTie	   *ties;
	int			n;
} List;

static bool holds_register(const MbSubscription *subscription, MbText event_id);
static bool may_matter(const MbSubscription *subscription, MbTime created);
static void add(List *list, MbText event_id, MbTime created);

int
mb_remember_ties(const MbSubscription *before, const MbSubscription *after, const MbEvent *event,
				 const MbEvent *const *peers, int npeers, MbTie *ties)
{
	const MbMark *marks[] = {&before->state, &before->tier_mark, &before->period, &before->live, &before->fell};
	List		list = {after, ties, 0};

	for (int i = 0; i < before->nties; i++)
		add(&list, before->ties[i].event_id, before->ties[i].created);
	for (int i = 0; i < npeers; i++)
	{
		int			in_its_second = 0;

		for (int j = 0; j < npeers; j++)
			in_its_second += peers[j]->created == peers[i]->created;
		if (in_its_second > 1 && mb_subscription_refers_to(after, peers[i]->created))
			add(&list, peers[i]->id, peers[i]->created);
	}

	/* a checkout's promise is no step of the subscription's */
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (marks[i]->rank >> 2 != MB_CLASS_PROVISIONAL && !holds_register(after, marks[i]->event_id))
			add(&list, marks[i]->event_id, marks[i]->created);
	if (event->kind == MB_EVENT_SUBSCRIPTION && !holds_register(after, event->id))
		add(&list, event->id, event->created);
	return list.n;
}

static bool
holds_register(const MbSubscription *subscription, MbText event_id)
{
	return mb_text_eq(subscription->state.event_id, event_id) ||
		mb_text_eq(subscription->tier_mark.event_id, event_id) ||
		mb_text_eq(subscription->period.event_id, event_id) ||
		mb_text_eq(subscription->live.event_id, event_id) ||
		mb_text_eq(subscription->fell.event_id, event_id);
}

static bool
may_matter(const MbSubscription *subscription, MbTime created)
{
	return created >= subscription->live.created || mb_subscription_refers_to(subscription, created);
}

static void
add(List *list, MbText event_id, MbTime created)
{
	int			in_its_second = 0;
	int			oldest = -1;

	if (!may_matter(list->subscription, created))
		return;
	for (int i = 0; i < list->n; i++)
	{
		if (mb_text_eq(list->ties[i].event_id, event_id))
			return;
		in_its_second += list->ties[i].created == created;
	}
	if (in_its_second > MB_MAX_CHAIN)
		return;

	/* of those that no register's second has, the newest */
	for (int i = 0; list->n >= MAX_REMEMBERED && i < list->n; i++)
		if (!mb_subscription_refers_to(list->subscription, list->ties[i].created) &&
			(oldest < 0 || list->ties[i].created < list->ties[oldest].created))
			oldest = i;
	if (oldest < 0)
		oldest = list->n++;
	else if (created < list->ties[oldest].created && !mb_subscription_refers_to(list->subscription, created))
		return;
	list->ties[oldest].event_id = event_id;
	list->ties[oldest].created = created;
}
