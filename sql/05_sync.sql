-- sync_subscription_from_event(): events into rows.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.add_prices();
CREATE VIEW app_row AS SELECT "userId", tier, status, "stripeCustomerId" AS customer, "stripeSubscriptionId" AS subscription,
	"stripePriceId" AS price, "currentPeriodStart" AS starts, "currentPeriodEnd" AS ends, "cancelAtPeriodEnd" AS cancel
	FROM public."Subscription" ORDER BY "userId";

-- A purchase, in the shape from basil on: the period stands on the item.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_1', 'customer.subscription.created',
	'2026-01-01 00:00+00', fixture.subscription('sub_1', 'active', user_id => 'u1')));
SELECT * FROM app_row;
SELECT length(id) AS id_length, id ~ '^[a-z][a-z0-9]+$' AS id_like_cuid, "createdAt" = "updatedAt" AS same_time FROM public."Subscription";
SELECT event_id, event_type, status, reason FROM momento_billing.webhook_inbox;

-- And up to acacia: on the subscription itself.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_2', 'customer.subscription.updated',
	'2026-01-02 00:00+00', fixture.subscription('sub_1', 'active', user_id => 'u1', price => 'price_business_year',
		starts => '2026-01-02 00:00+00', ends => '2098-01-01 12:34:56+00', shape => 'acacia')));
SELECT * FROM app_row;

-- The same event again; an older one; one that says nothing new.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_2', 'customer.subscription.updated',
	'2026-01-02 00:00+00', fixture.subscription('sub_1', 'canceled')));
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_3', 'customer.subscription.updated',
	'2026-01-01 12:00+00', fixture.subscription('sub_1', 'past_due')));
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_4', 'customer.subscription.updated',
	'2026-01-03 00:00+00', fixture.subscription('sub_1', 'active', price => 'price_business_year',
		starts => '2026-01-02 00:00+00', ends => '2098-01-01 12:34:56+00')));
SELECT * FROM app_row;
SELECT event_id, status, reason FROM momento_billing.webhook_inbox ORDER BY id;

-- Planned cancel and its end.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_5', 'customer.subscription.updated',
	'2026-01-04 00:00+00', fixture.subscription('sub_1', 'active', price => 'price_business_year',
		starts => '2026-01-02 00:00+00', ends => '2098-01-01 12:34:56+00', extra => '{"cancel_at_period_end": true}')));
SELECT * FROM app_row;
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_6', 'customer.subscription.deleted',
	'2098-01-01 12:34:56+00', fixture.subscription('sub_1', 'canceled', price => 'price_business_year',
		starts => '2026-01-02 00:00+00', ends => '2098-01-01 12:34:56+00', extra => '{"ended_at": 4039331696}')));
SELECT * FROM app_row;
SELECT t, momento_billing.effective_tier('u1', t) FROM unnest('{2098-01-01 12:34:55+00,2098-01-01 12:34:56+00}'::timestamptz[]) AS t;

-- Stripe's eight statuses, and a ninth to come.
CREATE TABLE public.stripe_status (n int, status text);
INSERT INTO public.stripe_status VALUES (1, 'incomplete'), (2, 'incomplete_expired'), (3, 'trialing'), (4, 'active'),
	(5, 'past_due'), (6, 'canceled'), (7, 'unpaid'), (8, 'paused'), (9, 'frozen');
SELECT s.status AS stripe, r.outcome, r.reason, r.tier, r.status
	FROM public.stripe_status s, momento_billing.sync_subscription_from_event(fixture.event('evt_status_' || n,
		'customer.subscription.created', '2026-01-01 00:00+00',
		fixture.subscription('sub_' || s.status, s.status, customer => 'cus_' || s.status, user_id => s.status))) AS r
	ORDER BY n;
SELECT s.status AS stripe, a.tier, a.status, a.ends,
		momento_billing.effective_tier(s.status, '2098-12-31 23:59:59+00') AS before_end,
		momento_billing.effective_tier(s.status, '2099-01-01 00:00:00+00') AS at_end
	FROM public.stripe_status s LEFT JOIN app_row a ON a."userId" = s.status ORDER BY n;
SELECT subscription_id, status, price_id, tier FROM momento_billing.stripe_subscription
	WHERE user_id IN (SELECT status FROM public.stripe_status) ORDER BY 1;

-- Checkout only: the promise of a plan counts at once.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_7', 'checkout.session.completed',
	'2026-01-01 00:00+00', fixture.checkout('cs_1', 'sub_2', customer => 'cus_2', user_id => 'u2',
		extra => '{"metadata": {"userId": "u2", "tier": "PRO"}}')));
SELECT * FROM app_row WHERE "userId" = 'u2';

-- A failed renewal, before the subscription's own event tells of it.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_8', 'customer.subscription.updated',
	'2026-02-01 00:00+00', fixture.subscription('sub_2', 'active', customer => 'cus_2', starts => '2026-02-01', ends => '2098-03-01')));
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_9', 'invoice.payment_failed',
	'2026-02-01 01:00+00', fixture.invoice('in_1', 'sub_2', customer => 'cus_2', starts => '2026-02-01', ends => '2098-03-01')));
SELECT * FROM app_row WHERE "userId" = 'u2';

-- A user who is not known yet.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_10', 'customer.subscription.created',
	'2026-01-01 00:00+00', fixture.subscription('sub_3', 'active', customer => 'cus_3')));
SELECT event_id, status, reason, waiting_for FROM momento_billing.webhook_inbox WHERE event_id = 'evt_10';
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_11', 'checkout.session.completed',
	'2026-01-01 00:00+00', fixture.checkout('cs_2', 'sub_3', customer => 'cus_3', client_reference_id => 'u3')));
SELECT event_id, status, reason, waiting_for FROM momento_billing.webhook_inbox WHERE event_id IN ('evt_10', 'evt_11') ORDER BY id;
SELECT * FROM app_row WHERE "userId" = 'u3';

-- What is not ours is ignored, with the reason, and recorded.
SELECT e ->> 'id' AS event, r.outcome, r.reason FROM (VALUES
	(fixture.event('evt_i1', 'customer.created', '2026-01-01', '{"id": "cus_9"}')),
	(fixture.event('evt_i2', 'invoice.paid', '2026-01-01', fixture.invoice('in_2', 'sub_1'))),
	(fixture.event('evt_i3', 'checkout.session.completed', '2026-01-01', fixture.checkout('cs_3', 'sub_9', extra => '{"mode": "payment", "subscription": null}'))),
	(fixture.event('evt_i4', 'checkout.session.completed', '2026-01-01', fixture.checkout('cs_4', 'sub_9', extra => '{"payment_status": "unpaid"}'))),
	(fixture.event('evt_i5', 'invoice.payment_failed', '2026-01-01', fixture.invoice('in_3', 'sub_9', extra => '{"billing_reason": "subscription_create"}'))),
	(fixture.event('evt_i6', 'invoice.payment_failed', '2026-01-01', fixture.invoice('in_4', 'sub_9', extra => '{"collection_method": "send_invoice"}'))),
	(fixture.event('evt_00000000000000', 'customer.subscription.created', '2026-01-01', fixture.subscription('sub_00000000000000', 'active'))),
	('{"id": "evt_i7", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "created": "2026-01-01T00:00:00Z"}')
	) AS v (e), momento_billing.sync_subscription_from_event(e) AS r;
SELECT event_id, status, reason FROM momento_billing.webhook_inbox WHERE status = 'ignored' ORDER BY id;
ROLLBACK;
