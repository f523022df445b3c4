/*
 * fuzz_event.c
 *	  The event reader takes any document.
 *
 * The input is a JSON text.  What is read keeps the promises of event.h,
 * whatever it was read from, and does not depend on the order of keys, which
 * jsonb does not keep.
 */
#include "event.h"
#include "input.h"
#include "../unit/json_jansson.h"
#include "../unit/plans_fixture.h"

static void check_event(const MbEvent *event);
static void check_text(MbText text, int max);
static void check_before(const MbEvent *event, const MbEvent *turned);
static json_t *turn_keys(const json_t *value);
static bool same(const MbEvent *a, const MbEvent *b);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const MbLivemode modes[] = {MB_LIVEMODE_ANY, MB_LIVEMODE_LIVE, MB_LIVEMODE_TEST};
	json_t	   *value = json_loadb((const char *) data, size, JSON_DECODE_ANY, NULL);
	json_t	   *turned_value;
	MbJson		document;
	MbJson		turned_document;
	MbEvent		envelope;

	if (value == NULL)
		return 0;
	turned_value = turn_keys(value);
	document = mb_json_from_jansson(value);
	turned_document = mb_json_from_jansson(turned_value);

	mb_event_read_envelope(document, &envelope);
	MB_CHECK(envelope.kind == MB_EVENT_IGNORED && envelope.reason == NULL);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
	{
		MbEvent		event;
		MbEvent		turned;

		mb_event_read(document, mb_test_plans(), modes[i], &event);
		check_event(&event);
		MB_CHECK(mb_text_eq(event.id, envelope.id) && mb_text_eq(event.type, envelope.type));
		MB_CHECK(event.created == envelope.created && event.livemode == envelope.livemode);
		MB_CHECK(event.kind == MB_EVENT_IGNORED || !event.has_livemode || modes[i] == MB_LIVEMODE_ANY ||
				 event.livemode == (modes[i] == MB_LIVEMODE_LIVE));

		mb_event_read(turned_document, mb_test_plans(), modes[i], &turned);
		MB_CHECK(same(&event, &turned));
		check_before(&event, &turned);
	}
	json_decref(value);
	json_decref(turned_value);
	return 0;
}

static void
check_event(const MbEvent *event)
{
	MB_CHECK((event->kind == MB_EVENT_IGNORED) == (event->reason != NULL));
	MB_CHECK((int) event->kind >= MB_EVENT_IGNORED && event->kind <= MB_EVENT_CUSTOMER_DELETED);
	MB_CHECK((int) event->order >= MB_ORDER_CREATED && event->order <= MB_ORDER_DELETED);
	MB_CHECK(event->tier >= MB_NO_TIER && event->tier < mb_test_plans()->ntiers);
	MB_CHECK((event->period_start == MB_NO_TIME) == (event->period_end == MB_NO_TIME));
	MB_CHECK(event->has_livemode || !event->livemode);
	MB_CHECK(event->before == NULL);

	check_text(event->id, MB_MAX_ID);
	check_text(event->subscription_id, MB_MAX_ID);
	check_text(event->customer_id, MB_MAX_ID);
	check_text(event->user_id, MB_MAX_ID);
	check_text(event->client_reference_id, MB_MAX_ID);
	check_text(event->price_id, MB_MAX_ID);
	check_text(event->type, INT32_MAX);
	check_text(event->previous_status, INT32_MAX);
	check_text(event->cancellation_reason, INT32_MAX);
	if (event->kind == MB_EVENT_IGNORED)
		return;

	check_text(event->status, MB_MAX_ID);
	MB_CHECK(event->id.data != NULL && event->type.data != NULL && event->created != MB_NO_TIME);
	MB_CHECK((event->subscription_id.data != NULL) == (event->kind != MB_EVENT_CUSTOMER_DELETED));
	MB_CHECK((event->status.data != NULL) == (event->kind == MB_EVENT_SUBSCRIPTION));
	MB_CHECK(event->client_reference_id.data == NULL || event->kind == MB_EVENT_CHECKOUT);
	MB_CHECK(event->kind != MB_EVENT_CUSTOMER_DELETED || event->customer_id.data != NULL);
	MB_CHECK(event->kind != MB_EVENT_PAYMENT_FAILED || event->period_start != MB_NO_TIME);
	MB_CHECK(event->kind == MB_EVENT_SUBSCRIPTION || event->order == MB_ORDER_CREATED);
}

/* No text is empty: it is there, or it is not. */
static void
check_text(MbText text, int max)
{
	MB_CHECK((text.data == NULL) == (text.len == 0));
	MB_CHECK(text.len >= 0 && text.len <= max);
}

static void
check_before(const MbEvent *event, const MbEvent *turned)
{
	MbEvent		before;
	MbEvent		turned_before;
	bool		says = mb_event_read_before(event, mb_test_plans(), &before);

	MB_CHECK(mb_event_read_before(turned, mb_test_plans(), &turned_before) == says);
	MB_CHECK(same(&before, &turned_before));
	MB_CHECK(says == (event->kind == MB_EVENT_SUBSCRIPTION && event->previous.type == MB_JSON_OBJECT));
	if (!says)
		return;
	MB_CHECK((before.period_start == MB_NO_TIME) == (before.period_end == MB_NO_TIME));
	MB_CHECK(before.tier >= MB_NO_TIER && before.tier < mb_test_plans()->ntiers);
	MB_CHECK(mb_text_eq(before.subscription_id, event->subscription_id));
	MB_CHECK(event->previous_status.data == NULL || event->previous_status.len > MB_MAX_ID ||
			 mb_text_eq(before.status, event->previous_status));
	check_text(before.price_id, MB_MAX_ID);
}

/* A copy with the keys of all objects in the opposite order. */
static json_t *
turn_keys(const json_t *value)
{
	json_t	   *copy;

	if (json_is_array(value))
	{
		copy = json_array();
		for (size_t i = 0; i < json_array_size(value); i++)
			json_array_append_new(copy, turn_keys(json_array_get(value, i)));
		return copy;
	}
	if (json_is_object(value))
	{
		json_t	   *object = (json_t *) value;
		size_t		n = json_object_size(object);
		const char **keys = calloc(n + 1, sizeof(char *));

		MB_CHECK(keys != NULL);
		copy = json_object();
		for (void *iter = json_object_iter(object); iter != NULL; iter = json_object_iter_next(object, iter))
			keys[--n] = json_object_iter_key(iter);
		for (; keys[n] != NULL; n++)
			json_object_set_new(copy, keys[n], turn_keys(json_object_get(object, keys[n])));
		free(keys);
		return copy;
	}
	return json_deep_copy(value);
}

static bool
same(const MbEvent *a, const MbEvent *b)
{
	return a->kind == b->kind && a->reason == b->reason && mb_text_eq(a->id, b->id) &&
		mb_text_eq(a->type, b->type) && mb_text_eq(a->api_version, b->api_version) &&
		a->created == b->created && a->livemode == b->livemode && a->has_livemode == b->has_livemode &&
		a->order == b->order && mb_text_eq(a->subscription_id, b->subscription_id) &&
		mb_text_eq(a->customer_id, b->customer_id) && mb_text_eq(a->user_id, b->user_id) &&
		mb_text_eq(a->client_reference_id, b->client_reference_id) && mb_text_eq(a->status, b->status) &&
		mb_text_eq(a->previous_status, b->previous_status) && mb_text_eq(a->price_id, b->price_id) &&
		a->tier == b->tier && a->period_start == b->period_start && a->period_end == b->period_end &&
		a->cancel_at == b->cancel_at && a->cancel_at_period_end == b->cancel_at_period_end &&
		a->ended_at == b->ended_at && mb_text_eq(a->cancellation_reason, b->cancellation_reason);
}
