/*
 * event.c
 *	  Reader of Stripe events of every API version.  Pure.
 *
 * Every field is read defensively: a value of a wrong type is as good as
 * none.  What decides is the presence of a field, not api_version (R1).
 */
#include "event.h"

/* Unix seconds of the epoch of MbTime, 2000-01-01, and of the year 10000. */
#define MB_EPOCH_SECONDS INT64_C(946684800)
#define MB_LAST_SECOND INT64_C(253402300799)

/* So many zeros make a sample's id; a short id may well be somebody's own. */
#define SAMPLE_ZEROS 8

typedef struct MbPeriod
{
	MbTime		start;
	MbTime		end;
} MbPeriod;

/*
 * A value as an event shows it and, where its previous_attributes say so, as
 * it was before: those are partial, so each key is looked up in both.
 */
typedef struct View
{
	MbJson		json;
	MbJson		previous;		/* missing: as in "json" */
} View;

static void init_event(MbEvent *event);
static View as_is(MbJson json);
static View view_get(View object, const char *key);
static int	view_length(View array);
static View view_element(View array, int index);
static MbJson view_value(View view);
static MbText view_id(View view);
static MbText read_text(MbJson object, const char *key);
static MbText read_id(MbJson value);
static MbText read_user(MbJson metadata);
static MbTime read_time(MbJson object, const char *key);
static bool read_bool(MbJson object, const char *key);
static MbText as_text(MbJson value);
static MbTime as_time(MbJson value);
static bool as_bool(MbJson value);
static MbPeriod read_period(View object, const char *start, const char *end);
static void widen_period(MbPeriod *period, MbPeriod other);
static bool is_sample(MbText id);
static void read_object(MbJson document, MbJson object, const MbPlans *plans, MbEvent *event);
static void read_subscription(View object, const MbPlans *plans, MbEvent *event);
static void read_items(View object, const MbPlans *plans, MbEvent *event);
static MbText item_price(View item);
static bool is_subscription_type(MbText type);
static void read_checkout(MbJson object, const MbPlans *plans, MbEvent *event);
static void read_failed_invoice(MbJson object, const MbPlans *plans, MbEvent *event);
static MbText invoice_subscription(MbJson object);
static void read_invoice_period(MbJson object, const MbPlans *plans, MbEvent *event);
static MbText line_price(MbJson line);
static bool line_is_proration(MbJson line);

void
mb_event_read_envelope(MbJson document, MbEvent *event)
{
	MbJson		livemode = mb_json_get(document, "livemode");

	init_event(event);
	event->id = read_id(mb_json_get(document, "id"));
	event->type = read_text(document, "type");
	event->api_version = read_text(document, "api_version");
	event->created = read_time(document, "created");
	event->has_livemode = livemode.type == MB_JSON_BOOL;
	event->livemode = event->has_livemode && livemode.boolean;
}

void
mb_event_read(MbJson document, const MbPlans *plans, MbLivemode livemode, MbEvent *event)
{
	MbText		object_type = read_text(document, "object");
	MbJson		object = mb_json_get(mb_json_get(document, "data"), "object");

	mb_event_read_envelope(document, event);

	/* R11: a thin event has no object in it, and its created is a string */
	if (mb_text_is(object_type, "v2.core.event"))
		event->reason = "thin_event";
	else if (document.type != MB_JSON_OBJECT || event->id.data == NULL || event->type.data == NULL ||
			 (object_type.data != NULL && !mb_text_is(object_type, "event")))
		event->reason = "not_an_event";
	else if (is_sample(event->id) || is_sample(read_id(object)))
		event->reason = "sample_event";
	else if (event->has_livemode && livemode != MB_LIVEMODE_ANY &&
			 event->livemode != (livemode == MB_LIVEMODE_LIVE))
		event->reason = "other_livemode";
	else if (event->created == MB_NO_TIME)
		event->reason = "no_created";
	else
		read_object(document, object, plans, event);

	if (event->reason != NULL)
		event->kind = MB_EVENT_IGNORED;
}

bool
mb_event_read_before(const MbEvent *event, const MbPlans *plans, MbEvent *before)
{
	const View	view = {event->object, event->previous};

	init_event(before);
	if (event->kind != MB_EVENT_SUBSCRIPTION || event->previous.type != MB_JSON_OBJECT)
		return false;
	read_subscription(view, plans, before);
	return true;
}

static void
init_event(MbEvent *event)
{
	*event = (MbEvent)
	{
		.kind = MB_EVENT_IGNORED,
		.tier = MB_NO_TIER,
		.created = MB_NO_TIME,
		.period_start = MB_NO_TIME,
		.period_end = MB_NO_TIME,
		.cancel_at = MB_NO_TIME,
		.ended_at = MB_NO_TIME,
	};
}

static View
as_is(MbJson json)
{
	return (View)
	{
		json,
		{
		.type = MB_JSON_MISSING
		}
	};
}

static View
view_get(View object, const char *key)
{
	/* what was null, or no object, had no such key */
	if (object.previous.type != MB_JSON_MISSING && object.previous.type != MB_JSON_OBJECT)
		object.json = object.previous;
	return (View)
	{
		mb_json_get(object.json, key), mb_json_get(object.previous, key)
	};
}

static int
view_length(View array)
{
	return mb_json_length(view_value(array));
}

static View
view_element(View array, int index)
{
	return (View)
	{
		mb_json_element(array.json, index), mb_json_element(array.previous, index)
	};
}

static MbJson
view_value(View view)
{
	return view.previous.type != MB_JSON_MISSING ? view.previous : view.json;
}

/* An expanded object may say before only what has changed of it. */
static MbText
view_id(View view)
{
	return read_id(view_value(view).type == MB_JSON_OBJECT ? view_value(view_get(view, "id")) : view_value(view));
}

/* A string value, or no text; also none for an empty string. */
static MbText
read_text(MbJson object, const char *key)
{
	return as_text(mb_json_get(object, key));
}

static MbText
as_text(MbJson value)
{
	return value.type == MB_JSON_STRING && value.string.len > 0 ? value.string : MB_NO_TEXT;
}

/* R7: an id, or an expanded object with an id, deleted or not. */
static MbText
read_id(MbJson value)
{
	if (value.type == MB_JSON_OBJECT)
		value = mb_json_get(value, "id");
	if (value.type != MB_JSON_STRING || value.string.len == 0 || value.string.len > MB_MAX_ID)
		return MB_NO_TEXT;
	return value.string;
}

/* The user that the app wrote into an object's metadata. */
static MbText
read_user(MbJson metadata)
{
	return read_id(mb_json_get(metadata, "userId"));
}

static MbTime
read_time(MbJson object, const char *key)
{
	return as_time(mb_json_get(object, key));
}

static MbTime
as_time(MbJson value)
{
	if (value.type != MB_JSON_INTEGER || value.integer < 0 || value.integer > MB_LAST_SECOND)
		return MB_NO_TIME;
	return (value.integer - MB_EPOCH_SECONDS) * INT64_C(1000000);
}

static bool
read_bool(MbJson object, const char *key)
{
	return as_bool(mb_json_get(object, key));
}

static bool
as_bool(MbJson value)
{
	return value.type == MB_JSON_BOOL && value.boolean;
}

/* Both ends or none: half a period must not be joined to another's half (R4). */
static MbPeriod
read_period(View object, const char *start, const char *end)
{
	MbPeriod	period = {
		as_time(view_value(view_get(object, start))),
		as_time(view_value(view_get(object, end)))
	};

	if (period.start == MB_NO_TIME || period.end == MB_NO_TIME)
		period.start = period.end = MB_NO_TIME;
	return period;
}

static void
widen_period(MbPeriod *period, MbPeriod other)
{
	if (other.start == MB_NO_TIME)
		return;
	if (period->start == MB_NO_TIME || other.start < period->start)
		period->start = other.start;
	if (period->end == MB_NO_TIME || other.end > period->end)
		period->end = other.end;
}

/* R35: the Dashboard's samples have ids of zeros only, as evt_00000000000000. */
static bool
is_sample(MbText id)
{
	const char *underscore = id.len > 0 ? memchr(id.data, '_', id.len) : NULL;
	int			first = underscore != NULL ? (int) (underscore - id.data) + 1 : 0;

	for (int i = first; i < id.len; i++)
		if (id.data[i] != '0')
			return false;
	return id.len - first >= SAMPLE_ZEROS;
}

/* What the event's type makes of its object. */
static void
read_object(MbJson document, MbJson object, const MbPlans *plans, MbEvent *event)
{
	static const struct
	{
		const char *type;
		MbEventKind kind;
		MbEventOrder order;
		const char *reason;		/* MB_EVENT_IGNORED */
	}			types[] =
	{
		{"customer.subscription.created", MB_EVENT_SUBSCRIPTION, MB_ORDER_CREATED, NULL},
		{"customer.subscription.deleted", MB_EVENT_SUBSCRIPTION, MB_ORDER_DELETED, NULL},
		/* it says what will happen; what happens has events of its own */
		{"customer.subscription.trial_will_end", MB_EVENT_IGNORED, MB_ORDER_CREATED, "announcement"},
		{"checkout.session.completed", MB_EVENT_CHECKOUT, MB_ORDER_CREATED, NULL},
		{"checkout.session.async_payment_succeeded", MB_EVENT_CHECKOUT, MB_ORDER_CREATED, NULL},
		{"checkout.session.async_payment_failed", MB_EVENT_IGNORED, MB_ORDER_CREATED, "not_paid"},
		{"invoice.payment_failed", MB_EVENT_PAYMENT_FAILED, MB_ORDER_CREATED, NULL},
		{"customer.deleted", MB_EVENT_CUSTOMER_DELETED, MB_ORDER_CREATED, NULL},
		/* R32: they repeat what the subscription's own event says */
		{"invoice.paid", MB_EVENT_IGNORED, MB_ORDER_CREATED, "redundant"},
		{"invoice.payment_succeeded", MB_EVENT_IGNORED, MB_ORDER_CREATED, "redundant"},
	};

	/* updated, paused, resumed, pending_update_applied, and those to come */
	event->reason = is_subscription_type(event->type) ? NULL : "unhandled_type";
	event->kind = MB_EVENT_SUBSCRIPTION;
	event->order = MB_ORDER_UPDATED;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (!mb_text_is(event->type, types[i].type))
			continue;
		event->kind = types[i].kind;
		event->order = types[i].order;
		event->reason = types[i].reason;
	}
	if (event->reason != NULL)
		return;
	if (object.type != MB_JSON_OBJECT || read_id(object).data == NULL)
	{
		event->reason = "no_object";
		return;
	}

	event->object = object;
	event->customer_id = read_id(mb_json_get(object, "customer"));
	event->user_id = read_user(mb_json_get(object, "metadata"));
	switch (event->kind)
	{
		case MB_EVENT_SUBSCRIPTION:
			event->previous = mb_json_get(mb_json_get(document, "data"), "previous_attributes");
			event->previous_status = read_text(event->previous, "status");
			read_subscription(as_is(object), plans, event);
			break;
		case MB_EVENT_CHECKOUT:
			read_checkout(object, plans, event);
			break;
		case MB_EVENT_PAYMENT_FAILED:
			read_failed_invoice(object, plans, event);
			break;
		case MB_EVENT_CUSTOMER_DELETED:
			event->customer_id = read_id(object);
			event->user_id = MB_NO_TEXT;
			break;
		case MB_EVENT_IGNORED:
		case MB_EVENT_ADOPTED:
		case MB_EVENT_LINKED:
			break;
	}
}

static bool
is_subscription_type(MbText type)
{
	static const char prefix[] = "customer.subscription.";

	return type.len > (int) sizeof(prefix) - 1 && memcmp(type.data, prefix, sizeof(prefix) - 1) == 0;
}

static void
read_subscription(View object, const MbPlans *plans, MbEvent *event)
{
	event->subscription_id = read_id(object.json);
	event->status = as_text(view_value(view_get(object, "status")));
	if (event->status.data == NULL || event->status.len > MB_MAX_ID)
	{
		event->reason = "no_status";
		return;
	}
	event->cancel_at = as_time(view_value(view_get(object, "cancel_at")));
	event->cancel_at_period_end = as_bool(view_value(view_get(object, "cancel_at_period_end")));
	event->ended_at = as_time(view_value(view_get(object, "ended_at")));
	event->cancellation_reason = as_text(view_value(view_get(view_get(object, "cancellation_details"), "reason")));
	read_items(object, plans, event);
}

/*
 * Price and period (R2, R3, R6): of the item that buys the highest tier; if
 * no item's price is known, the first price and the widest period.  Up to
 * acacia the period stands on the subscription, from basil on its items.
 */
static void
read_items(View object, const MbPlans *plans, MbEvent *event)
{
	View		items = view_get(view_get(object, "items"), "data");
	int			nitems = view_length(items);
	MbPeriod	period = {MB_NO_TIME, MB_NO_TIME};

	for (int i = 0; i < nitems; i++)
	{
		View		item = view_element(items, i);
		MbText		price_id = item_price(item);
		int			tier = mb_plans_tier_of_price(plans, price_id);
		MbPeriod	item_period = read_period(item, "current_period_start", "current_period_end");

		if (tier != MB_NO_TIER && tier > event->tier)
		{
			event->tier = tier;
			event->price_id = price_id;
			period = item_period;
		}
		else if (event->tier == MB_NO_TIER)
		{
			if (event->price_id.data == NULL)
				event->price_id = price_id;
			widen_period(&period, item_period);
		}
	}
	if (event->price_id.data == NULL)
	{
		event->price_id = view_id(view_get(object, "plan"));
		event->tier = mb_plans_tier_of_price(plans, event->price_id);
	}
	if (period.start == MB_NO_TIME)
		period = read_period(object, "current_period_start", "current_period_end");
	event->period_start = period.start;
	event->period_end = period.end;
}

static MbText
item_price(View item)
{
	MbText		price_id = view_id(view_get(item, "price"));

	return price_id.data != NULL ? price_id : view_id(view_get(item, "plan"));
}

/*
 * R30.  The first sessions had neither mode nor payment_status; what is not
 * said is taken as the case that this event was made for.
 */
static void
read_checkout(MbJson object, const MbPlans *plans, MbEvent *event)
{
	MbText		mode = read_text(object, "mode");
	MbText		payment_status = read_text(object, "payment_status");
	MbJson		metadata = mb_json_get(object, "metadata");

	event->subscription_id = read_id(mb_json_get(object, "subscription"));
	if ((mode.data != NULL && !mb_text_is(mode, "subscription")) || event->subscription_id.data == NULL)
	{
		event->reason = "no_subscription";
		return;
	}
	if (payment_status.data != NULL && !mb_text_is(payment_status, "paid") &&
		!mb_text_is(payment_status, "no_payment_required"))
	{
		event->reason = "not_paid";
		return;
	}
	event->client_reference_id = read_id(mb_json_get(object, "client_reference_id"));

	/* What the app promised at checkout stands until the subscription speaks. */
	event->price_id = read_id(mb_json_get(metadata, "priceId"));
	event->tier = mb_plans_tier_of_price(plans, event->price_id);
	if (event->tier == MB_NO_TIER)
	{
		event->price_id = MB_NO_TEXT;
		event->tier = mb_plans_find_tier(plans, read_text(metadata, "tier"));
	}
}

/* R31: only a renewal that Stripe charges by itself says anything of access. */
static void
read_failed_invoice(MbJson object, const MbPlans *plans, MbEvent *event)
{
	MbText		billing_reason = read_text(object, "billing_reason");
	MbText		collection_method = read_text(object, "collection_method");

	event->subscription_id = invoice_subscription(object);
	if (event->subscription_id.data == NULL)
	{
		event->reason = "no_subscription";
		return;
	}
	if (!mb_text_is(billing_reason, "subscription_cycle") && !mb_text_is(billing_reason, "subscription"))
	{
		event->reason = "not_a_renewal";
		return;
	}
	if (collection_method.data != NULL && !mb_text_is(collection_method, "charge_automatically"))
	{
		event->reason = "not_charged_automatically";
		return;
	}

	/*
	 * R10: a snapshot of the subscription's metadata; the invoice's own says
	 * nothing of the subscription's user
	 */
	event->user_id = read_user(mb_json_get(mb_json_get(mb_json_get(object, "parent"), "subscription_details"), "metadata"));
	if (event->user_id.data == NULL)
		event->user_id = read_user(mb_json_get(mb_json_get(object, "subscription_details"), "metadata"));
	read_invoice_period(object, plans, event);
}

/* R8 */
static MbText
invoice_subscription(MbJson object)
{
	MbJson		lines = mb_json_get(mb_json_get(object, "lines"), "data");
	MbText		id = read_id(mb_json_get(mb_json_get(mb_json_get(object, "parent"), "subscription_details"), "subscription"));

	if (id.data == NULL)
		id = read_id(mb_json_get(object, "subscription"));
	for (int i = 0; id.data == NULL && i < mb_json_length(lines); i++)
	{
		MbJson		line = mb_json_element(lines, i);

		id = read_id(mb_json_get(mb_json_get(mb_json_get(line, "parent"), "subscription_item_details"), "subscription"));
		if (id.data == NULL)
			id = read_id(mb_json_get(line, "subscription"));
	}
	return id;
}

/*
 * R10: an invoice's own period looks backward; what it charges for is the
 * period of its lines, and prorations aside, of the line that buys the tier.
 */
static void
read_invoice_period(MbJson object, const MbPlans *plans, MbEvent *event)
{
	MbJson		lines = mb_json_get(mb_json_get(object, "lines"), "data");
	int			nlines = mb_json_length(lines);
	MbPeriod	period = {MB_NO_TIME, MB_NO_TIME};

	for (int i = 0; i < nlines; i++)
	{
		MbJson		line = mb_json_element(lines, i);
		MbPeriod	line_period = read_period(as_is(mb_json_get(line, "period")), "start", "end");
		int			tier = line_is_proration(line) ? MB_NO_TIER : mb_plans_tier_of_price(plans, line_price(line));

		if (tier != MB_NO_TIER && tier > event->tier && line_period.start != MB_NO_TIME)
		{
			event->tier = tier;
			period = line_period;
		}
		else if (event->tier == MB_NO_TIER)
			widen_period(&period, line_period);
	}
	event->period_start = period.start;
	event->period_end = period.end;

	/* A failure of no known period can say nothing of access (R4). */
	if (period.start == MB_NO_TIME)
		event->reason = "no_period";
}

/* R9 */
static MbText
line_price(MbJson line)
{
	MbText		price_id = read_id(mb_json_get(mb_json_get(mb_json_get(line, "pricing"), "price_details"), "price"));

	return price_id.data != NULL ? price_id : item_price(as_is(line));
}

static bool
line_is_proration(MbJson line)
{
	MbJson		parent = mb_json_get(line, "parent");

	return read_bool(line, "proration") ||
		read_bool(mb_json_get(parent, "subscription_item_details"), "proration") ||
		read_bool(mb_json_get(parent, "invoice_item_details"), "proration");
}
