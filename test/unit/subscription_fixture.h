/*
 * subscription_fixture.h
 *	  Events made by hand, on a clock that starts at 0.
 *
 * Times are whole seconds.  Period "n" runs from n * MONTH to (n + 1) * MONTH.
 */
#ifndef MB_SUBSCRIPTION_FIXTURE_H
#define MB_SUBSCRIPTION_FIXTURE_H

#include "plans_fixture.h"
#include "subscription.h"

#define MONTH 1000
#define NO_PERIOD (-1)

static inline MbTime
mb_test_time(int seconds)
{
	return seconds * INT64_C(1000000);
}

static inline void
mb_test_set_period(MbEvent *event, int period)
{
	event->period_start = period == NO_PERIOD ? MB_NO_TIME : mb_test_time(period * MONTH);
	event->period_end = period == NO_PERIOD ? MB_NO_TIME : mb_test_time((period + 1) * MONTH);
}

/* An event of one subscription; NULL for a status that it does not have. */
static inline MbEvent
mb_test_event(MbEventKind kind, const char *id, int created, MbEventOrder order,
			  const char *status, int period)
{
	MbEvent		event = {
		.kind = kind,
		.id = mb_text(id),
		.created = mb_test_time(created),
		.livemode = true,
		.has_livemode = true,
		.order = order,
		.subscription_id = mb_text("sub_1"),
		.customer_id = mb_text("cus_1"),
		.status = mb_text(status),
		.price_id = mb_text("price_1T2aProMonth"),
		.tier = PRO,
		.cancel_at = MB_NO_TIME,
		.ended_at = MB_NO_TIME,
	};

	mb_test_set_period(&event, period);
	return event;
}

static inline MbEvent
mb_test_created(const char *id, int created, const char *status, int period)
{
	return mb_test_event(MB_EVENT_SUBSCRIPTION, id, created, MB_ORDER_CREATED, status, period);
}

/* "previous" is the status in previous_attributes, or NULL. */
static inline MbEvent
mb_test_updated(const char *id, int created, const char *status, int period, const char *previous)
{
	MbEvent		event = mb_test_event(MB_EVENT_SUBSCRIPTION, id, created, MB_ORDER_UPDATED, status, period);

	event.previous_status = mb_text(previous);
	return event;
}

static inline MbEvent
mb_test_deleted(const char *id, int created, int period, const char *reason)
{
	MbEvent		event = mb_test_event(MB_EVENT_SUBSCRIPTION, id, created, MB_ORDER_DELETED, "canceled", period);

	event.cancellation_reason = mb_text(reason);
	event.ended_at = event.created;
	return event;
}

static inline MbEvent
mb_test_failed(const char *id, int created, int period)
{
	MbEvent		event = mb_test_event(MB_EVENT_PAYMENT_FAILED, id, created, MB_ORDER_CREATED, NULL, period);

	event.price_id = MB_NO_TEXT;
	return event;
}

/* A checkout that promises a tier; MB_NO_TIER: that only links. */
static inline MbEvent
mb_test_checkout(const char *id, int created, int tier)
{
	MbEvent		event = mb_test_event(MB_EVENT_CHECKOUT, id, created, MB_ORDER_CREATED, NULL, NO_PERIOD);

	event.price_id = MB_NO_TEXT;
	event.tier = tier;
	return event;
}

#endif							/* MB_SUBSCRIPTION_FIXTURE_H */
