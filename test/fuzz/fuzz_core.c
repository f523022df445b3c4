/*
 * fuzz_core.c
 *	  From events to registers to a row: the same whatever the order.
 *
 * The input is a few events of a few subscriptions, with few different times,
 * so that ties are the rule, and an order in which they arrive once more,
 * some of them twice.  Both arrivals must lead to the same registers and to
 * the same row, and each step keeps the contract of its outcome.
 */
#include <stdarg.h>

#include "entitlement.h"
#include "input.h"
#include "../unit/plans_fixture.h"
#include "../unit/subscription_fixture.h"
#include "../unit/subscription_history.h"

#define MAX_EVENTS 10
#define MAX_DELIVERIES (2 * MAX_EVENTS)
#define SUBSCRIPTIONS 3

typedef struct World
{
	MbEvent		events[MAX_EVENTS];
	MbEvent		before[MAX_EVENTS];
	int			subscription[MAX_EVENTS];	/* whose event it is */
	int			nevents;
} World;

/* What has arrived so far. */
typedef struct Known
{
	MbTestHistory histories[SUBSCRIPTIONS];
} Known;

static const char *const subscription_ids[SUBSCRIPTIONS] = {"sub_b", "sub_a", "sub_c"};

static void read_world(MbInput *input, World *world);
static void read_event(MbInput *input, World *world, int i);
static void read_state(MbInput *input, MbEvent *event);
static void copy_state(MbEvent *to, const MbEvent *from);
static void init_known(Known *known);
static void deliver(const World *world, Known *known, int i);
static void check_registers(const MbSubscription *subscription);
static void check_choice(const Known *known, MbInput *input);
static void fail(const World *world, const char *format,...) __attribute__((format(printf, 2, 3), noreturn));
static void describe(MbText name, const MbEvent *event);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MbInput		input = {data, size};
	World		world;
	Known		in_order;
	Known		shuffled;
	int			order[MAX_DELIVERIES];
	int			n;

	read_world(&input, &world);
	init_known(&in_order);
	for (int i = 0; i < world.nevents; i++)
		deliver(&world, &in_order, i);

	/* Each event once, some of them twice, in an order that the input draws. */
	n = world.nevents;
	for (int i = 0; i < n; i++)
		order[i] = i;
	for (int twice = mb_input_below(&input, world.nevents + 1); twice > 0; twice--)
		order[n++] = mb_input_below(&input, world.nevents);
	for (int i = n - 1; i > 0; i--)
	{
		int			other = mb_input_below(&input, i + 1);
		int			swapped = order[i];

		order[i] = order[other];
		order[other] = swapped;
	}
	init_known(&shuffled);
	for (int i = 0; i < n; i++)
		deliver(&world, &shuffled, order[i]);

	for (int i = 0; i < SUBSCRIPTIONS; i++)
	{
		const char *field = mb_test_difference(&in_order.histories[i].subscription, &shuffled.histories[i].subscription);

		if (field != NULL)
		{
			fprintf(stderr, "the other order:");
			for (int j = 0; j < n; j++)
				fprintf(stderr, " %s", world.events[order[j]].id.data);
			fputc('\n', stderr);
			fail(&world, "%s: \"%s\" depends on the order", subscription_ids[i], field);
		}
		check_registers(&in_order.histories[i].subscription);
	}
	check_choice(&in_order, &input);
	return 0;
}

static void
read_world(MbInput *input, World *world)
{
	world->nevents = 1 + mb_input_below(input, MAX_EVENTS);
	for (int i = 0; i < world->nevents; i++)
		read_event(input, world, i);
}

static void
read_event(MbInput *input, World *world, int i)
{
	/* neither in the order of arrival nor in that of time */
	static const char *const ids[MAX_EVENTS] = {
		"evt_5", "evt_2", "evt_9", "evt_0", "evt_7", "evt_1", "evt_8", "evt_3", "evt_6", "evt_4",
	};
	int			shape = mb_input_byte(input);
	int			when = mb_input_byte(input);
	int			created = when % 4;
	MbEventOrder order = (MbEventOrder) (when / 4 % 8 < 6 ? MB_ORDER_UPDATED : when / 4 % 8 == 6 ?
										 MB_ORDER_CREATED : MB_ORDER_DELETED);
	MbEvent    *event = &world->events[i];
	MbEvent    *before = &world->before[i];

	world->subscription[i] = when / 32 < 6 ? 0 : when / 32 - 5;
	switch (shape % 8)
	{
		case 0:
			*event = mb_test_checkout(ids[i], created, shape / 8 % 4 - 1);
			break;
		case 1:
			*event = mb_test_failed(ids[i], created, shape / 8 % 3);
			break;
		default:
			*event = mb_test_event(MB_EVENT_SUBSCRIPTION, ids[i], created, order, NULL, NO_PERIOD);
			read_state(input, event);
			if (order != MB_ORDER_UPDATED || shape % 8 == 2)
				break;

			/* found what an event before left, or anything */
			*before = *event;
			if (i > 0 && shape % 8 >= 4)
				copy_state(before, &world->events[i > 1 && shape / 8 % 8 == 0 ? i - 2 : i - 1]);
			else
				read_state(input, before);
			event->before = before;
			if (!mb_text_eq(before->status, event->status))
				event->previous_status = before->status;
			break;
	}
	event->subscription_id = mb_text(subscription_ids[world->subscription[i]]);
}

static void
read_state(MbInput *input, MbEvent *event)
{
	static const char *const statuses[16] = {
		"active", "past_due", "trialing", "unpaid", "paused", "canceled", "incomplete", "hibernating",
		"active", "past_due", "active", "past_due", "active", "past_due", "active", "incomplete_expired",
	};
	int			a = mb_input_byte(input);
	int			b = mb_input_byte(input);

	event->status = mb_text(statuses[a % 16]);
	event->tier = a / 16 % 4 - 1;
	event->price_id = event->tier == MB_NO_TIER ?
		a / 64 % 2 != 0 ? mb_text(UNKNOWN_PRICE) : MB_NO_TEXT : mb_test_plans()->prices[event->tier].price_id;
	if (event->tier != MB_NO_TIER)
		event->tier = mb_test_plans()->prices[event->tier].tier;
	mb_test_set_period(event, b % 4 - 1);
	event->cancel_at = b / 4 % 4 == 0 ? mb_test_time(MONTH) : MB_NO_TIME;
	event->cancel_at_period_end = b / 16 % 4 == 0;
	event->ended_at = a / 128 != 0 ? mb_test_time(1500) : MB_NO_TIME;
	event->cancellation_reason = b / 64 == 0 ? MB_NO_TEXT : b / 64 == 1 ? mb_text("payment_failed") :
		b / 64 == 2 ? mb_text("payment_disputed") : mb_text("cancellation_requested");
}

static void
copy_state(MbEvent *to, const MbEvent *from)
{
	to->status = from->status;
	to->tier = from->tier;
	to->price_id = from->price_id;
	to->period_start = from->period_start;
	to->period_end = from->period_end;
	to->cancel_at = from->cancel_at;
	to->cancel_at_period_end = from->cancel_at_period_end;
}

static void
init_known(Known *known)
{
	for (int i = 0; i < SUBSCRIPTIONS; i++)
		mb_test_begin(&known->histories[i], mb_text(subscription_ids[i]));
}

/* Apply an event, and at once again, and hold the contract of the outcome. */
static void
deliver(const World *world, Known *known, int i)
{
	MbTestHistory *history = &known->histories[world->subscription[i]];
	MbSubscription before = history->subscription;
	bool		first = !mb_test_remembers(history, &world->events[i]);
	MbDecision	decision;
	MbDecision	again;
	const char *changed;

	decision = mb_test_apply(history, &world->events[i]);
	changed = mb_test_difference(&before, &history->subscription);
	before = history->subscription;
	again = mb_test_apply(history, &world->events[i]);
	if ((int) decision.outcome < MB_OUTCOME_APPLIED || (int) decision.outcome > MB_OUTCOME_DUPLICATE ||
		decision.changed != (changed != NULL) ||
		(decision.outcome == MB_OUTCOME_APPLIED && !decision.changed) ||
		(decision.outcome == MB_OUTCOME_DUPLICATE && decision.changed))
		fail(world, "%s: outcome %d, changed %d, and what changed is %s", world->events[i].id.data,
			 decision.outcome, decision.changed, changed);
	if (!first && changed != NULL)
		fail(world, "%s: a repetition changed %s", world->events[i].id.data, changed);
	changed = mb_test_difference(&before, &history->subscription);
	if (again.changed || changed != NULL || again.outcome == MB_OUTCOME_APPLIED)
		fail(world, "%s at once again: outcome %d, changed %d, and what changed is %s", world->events[i].id.data,
			 again.outcome, again.changed, changed);
}

static void
check_registers(const MbSubscription *subscription)
{
	MbUserRow	row;

	MB_CHECK((subscription->period_start == MB_NO_TIME) == (subscription->period_end == MB_NO_TIME));
	MB_CHECK((subscription->status.data != NULL) == (subscription->state.created != MB_NO_TIME));
	MB_CHECK((subscription->tier.data != NULL) == (subscription->tier_mark.created != MB_NO_TIME));
	if (subscription->status.data == NULL)
		return;

	mb_entitlement_row(subscription, mb_test_plans(), &row);
	MB_CHECK(row.status >= MB_STATUS_ACTIVE && row.status <= MB_STATUS_INACTIVE);
	MB_CHECK(row.tier.data != NULL);
	MB_CHECK((row.period_start == MB_NO_TIME) <= (row.period_end == MB_NO_TIME) || row.status == MB_STATUS_CANCELED);
	MB_CHECK(!mb_subscription_payment_failed(subscription) || row.status == MB_STATUS_PAST_DUE);

	/* what nobody pays for gives nothing after the paid time */
	if (row.status == MB_STATUS_CANCELED && subscription->paid_through != MB_NO_TIME)
		MB_CHECK(mb_entitlement_until(&row, mb_test_plans()) <= subscription->paid_through);
}

/* The choice is by content: whichever stands first. */
static void
check_choice(const Known *known, MbInput *input)
{
	MbTime		now = mb_test_time(mb_input_below(input, 8) * (MONTH / 2));
	int			first = mb_input_below(input, SUBSCRIPTIONS);
	int			step = 1 + mb_input_below(input, SUBSCRIPTIONS - 1);
	const MbSubscription *as_is[SUBSCRIPTIONS];
	const MbSubscription *turned[SUBSCRIPTIONS];
	int			a;
	int			b;

	for (int i = 0; i < SUBSCRIPTIONS; i++)
	{
		as_is[i] = &known->histories[i].subscription;
		turned[i] = &known->histories[(first + i * step) % SUBSCRIPTIONS].subscription;
	}
	a = mb_entitlement_choose(as_is, SUBSCRIPTIONS, mb_test_plans(), now);
	b = mb_entitlement_choose(turned, SUBSCRIPTIONS, mb_test_plans(), now);
	MB_CHECK((a < 0) == (b < 0));
	MB_CHECK(a < 0 || as_is[a] == turned[b]);

	/* whoever loses would lose alone against the winner, too */
	for (int i = 0; a >= 0 && i < SUBSCRIPTIONS; i++)
	{
		const MbSubscription *pair[2] = {as_is[i], as_is[a]};

		MB_CHECK(i == a || mb_entitlement_choose(pair, 2, mb_test_plans(), now) == 1);
	}
}

/* Print the events and what is wrong, and stop. */
static void
fail(const World *world, const char *format,...)
{
	va_list		args;

	for (int i = 0; i < world->nevents; i++)
	{
		describe(world->events[i].id, &world->events[i]);
		if (world->events[i].before != NULL)
			describe(MB_TEXT_LITERAL("found"), world->events[i].before);
	}
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

static void
describe(MbText name, const MbEvent *event)
{
	static const char *const kinds[] = {"ignored", "", "checkout", "payment failed"};

	fprintf(stderr, "%-6s %s at %d, order %d: %s%s %s, tier %d, period %d, cancel %d%d\n", name.data,
			event->subscription_id.data, (int) (event->created / 1000000), event->order,
			kinds[event->kind], event->status.data ? event->status.data : "",
			event->price_id.data ? event->price_id.data : "no price", event->tier,
			event->period_start == MB_NO_TIME ? NO_PERIOD : (int) (event->period_start / 1000000 / MONTH),
			event->cancel_at != MB_NO_TIME, event->cancel_at_period_end);
}
