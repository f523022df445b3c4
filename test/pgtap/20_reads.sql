-- effective_tier(), billing_status(), the view entitlement.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT plan(41);
SELECT fixture.set_up();

INSERT INTO public."Subscription" (id, "userId", tier, status, "currentPeriodEnd", "updatedAt")
	SELECT s || coalesce(e::text, ''), s || CASE WHEN e IS NULL THEN '_endless' WHEN e < now() THEN '_past' ELSE '_future' END, 'PRO',
		s::public."SubscriptionStatus", e AT TIME ZONE 'UTC', now()
	FROM unnest('{ACTIVE,TRIALING,PAST_DUE,CANCELED,INACTIVE}'::text[]) AS s,
		unnest(ARRAY[now() - interval '1 day', now() + interval '1 day', NULL]) AS e;
SELECT is(momento_billing.effective_tier(s || '_' || e), CASE WHEN gives THEN 'PRO' ELSE 'BASIC' END, format('%s, period %s', s, e))
	FROM (VALUES ('ACTIVE', 'past', true), ('ACTIVE', 'future', true), ('ACTIVE', 'endless', true),
		('TRIALING', 'past', true), ('TRIALING', 'future', true), ('TRIALING', 'endless', true),
		('PAST_DUE', 'past', false), ('PAST_DUE', 'future', true), ('PAST_DUE', 'endless', false),
		('CANCELED', 'past', false), ('CANCELED', 'future', true), ('CANCELED', 'endless', false),
		('INACTIVE', 'past', false), ('INACTIVE', 'future', false), ('INACTIVE', 'endless', false)) AS v (s, e, gives);

-- The boundary.
INSERT INTO public."Subscription" (id, "userId", tier, status, "currentPeriodEnd", "updatedAt") VALUES
	('edge', 'edge', 'BUSINESS', 'CANCELED', '2030-05-01 12:00:00.5', now());
SELECT is(momento_billing.effective_tier('edge', '2030-05-01 12:00:00.499999+00'), 'BUSINESS', 'access holds before the period''s end');
SELECT is(momento_billing.effective_tier('edge', '2030-05-01 12:00:00.5+00'), 'BASIC', 'and not at it');
SELECT is(momento_billing.effective_tier('edge', '2030-05-01 14:00:00.4+02'), 'BUSINESS', 'R43: the time''s own zone counts');
SET LOCAL timezone = 'Pacific/Kiritimati';
SELECT is(momento_billing.effective_tier('edge', '2030-05-01 12:00:00.4+00'), 'BUSINESS', 'R43: the session''s zone does not (east)');
SET LOCAL timezone = 'Pacific/Pago_Pago';
SELECT is(momento_billing.effective_tier('edge', '2030-05-01 12:00:00.5+00'), 'BASIC', 'R43: the session''s zone does not (west)');
SELECT is(momento_billing.billing_status('edge') ->> 'currentPeriodEnd', '2030-05-01T12:00:00.500Z', 'R43: nor in billing_status');
SET LOCAL timezone = 'UTC';
SELECT is(momento_billing.effective_tier('nobody'), 'BASIC', 'a user without a row has the default tier');
SELECT is(momento_billing.effective_tier(NULL), NULL, 'NULL in, NULL out');

-- The clock is the statement's.
UPDATE public."Subscription" SET "currentPeriodEnd" = (clock_timestamp() + interval '2 ms') AT TIME ZONE 'UTC' WHERE "userId" = 'edge';
SELECT is((SELECT count(DISTINCT momento_billing.effective_tier('edge')) FROM generate_series(1, 20000)), 1::bigint,
	'one statement judges at one time');

-- The guide's object, exactly.
INSERT INTO public."Subscription" (id, "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "currentPeriodEnd", "cancelAtPeriodEnd", "updatedAt")
	VALUES ('camille', 'camille', 'PRO', 'ACTIVE', 'cus_1', 'sub_1', '2026-06-16', false, now());
SELECT is(momento_billing.billing_status('camille'), '{"tier": "PRO", "effectiveTier": "PRO", "status": "ACTIVE",
	"currentPeriodEnd": "2026-06-16T00:00:00.000Z", "cancelAtPeriodEnd": false, "hasStripeSubscription": true, "billingEnabled": true}',
	'billing_status of a subscriber');
SELECT is(momento_billing.billing_status('nobody'), '{"tier": "BASIC", "effectiveTier": "BASIC", "status": null,
	"currentPeriodEnd": null, "cancelAtPeriodEnd": false, "hasStripeSubscription": false, "billingEnabled": true}',
	'billing_status of a user without a row');
UPDATE public."Subscription" SET status = 'CANCELED', "currentPeriodEnd" = '2001-01-01 00:00:00.07', "cancelAtPeriodEnd" = true WHERE "userId" = 'camille';
SELECT is(momento_billing.billing_status('camille'), '{"tier": "PRO", "effectiveTier": "BASIC", "status": "CANCELED",
	"currentPeriodEnd": "2001-01-01T00:00:00.070Z", "cancelAtPeriodEnd": true, "hasStripeSubscription": true, "billingEnabled": true}',
	'billing_status after the end');
SELECT throws_ok($$SELECT momento_billing.billing_status('')$$, '22023', NULL, 'billing_status of nobody is an error');

-- What a statement of this transaction changed is seen; taken back, it is not.
SAVEPOINT change;
UPDATE public."Subscription" SET tier = 'BUSINESS' WHERE "userId" = 'ACTIVE_future';
SELECT is(momento_billing.effective_tier('ACTIVE_future'), 'BUSINESS', 'our own change is seen');
ROLLBACK TO change;
SELECT is(momento_billing.effective_tier('ACTIVE_future'), 'PRO', 'and not after it was taken back');

-- In parallel workers.
SELECT set_config(name, 'on', true) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT is((SELECT string_agg(DISTINCT momento_billing.effective_tier("userId"), ' ') FROM public."Subscription" WHERE "userId" LIKE 'ACTIVE%'), 'PRO',
	'parallel workers answer alike');
SELECT is(momento_billing.quota_remaining('ACTIVE_future', 'ai_chat'), 100::bigint, 'quotas too');
SELECT set_config(name, 'off', true) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');

-- Other entitlements of the user, and what the view says of them.
INSERT INTO momento_billing.other_access (user_id, source, ref, tier, valid_from, valid_until) VALUES
	('ACTIVE_future', 'subscription', 'sub_a', 'BUSINESS', NULL, '2040-01-01 00:00+00'),
	('INACTIVE_past', 'subscription', 'sub_b', 'PRO', '2040-01-01 00:00+00', '2041-01-01 00:00+00');
SELECT is(momento_billing.effective_tier('ACTIVE_future'), 'BUSINESS', 'the highest rank of all candidates wins');
SELECT is(momento_billing.effective_tier('ACTIVE_future', '2040-01-01 00:00+00'), 'PRO', 'until it ends');
SELECT is(momento_billing.effective_tier('ACTIVE_past'), 'PRO', 'another user''s is not ours');
SELECT is(momento_billing.effective_tier('INACTIVE_past'), 'BASIC', 'what has not begun does not count');
SELECT is(momento_billing.effective_tier('INACTIVE_past', '2040-01-01 00:00+00'), 'PRO', 'and counts when it begins');
SELECT is((SELECT concat_ws(' ', tier, status, effective_tier, until AT TIME ZONE 'UTC', source) FROM momento_billing.entitlement WHERE user_id = 'ACTIVE_future'),
	'PRO ACTIVE BUSINESS 2040-01-01 00:00:00 other', 'entitlement: where the tier comes from, and until when');
SELECT is((SELECT concat_ws(' ', tier, status, effective_tier, until, source) FROM momento_billing.entitlement WHERE user_id = 'CANCELED_past'),
	'PRO CANCELED BASIC default', 'entitlement: ended');
SELECT results_eq($$SELECT user_id COLLATE "C", effective_tier FROM momento_billing.entitlement ORDER BY 1$$,
	$$SELECT "userId" COLLATE "C", momento_billing.effective_tier("userId") FROM public."Subscription" ORDER BY 1$$,
	'entitlement and effective_tier agree on every user');
DELETE FROM momento_billing.other_access;
SELECT is(momento_billing.effective_tier('ACTIVE_future'), 'PRO', 'without it, the row alone counts');
SELECT * FROM finish();
ROLLBACK;
