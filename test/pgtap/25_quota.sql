-- quota_remaining() in its three forms.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT plan(30);
SELECT fixture.set_up();
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES
	('1', 'pro', 'PRO', 'ACTIVE', now()), ('2', 'big', 'ENTERPRISE', 'ACTIVE', now());
CREATE FUNCTION pg_temp.month() RETURNS timestamptz LANGUAGE sql AS
	$$SELECT date_trunc('month', statement_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'$$;

SELECT is(momento_billing.quota_remaining('nobody', 'semantic_search'), 30::bigint, 'nothing is used yet');
SELECT is(momento_billing.quota_remaining('nobody', 'ai_chat'), 0::bigint, 'not in the plan: 0');
SELECT is(momento_billing.quota_remaining('big', 'ai_chat'), NULL, 'unlimited: NULL');
SELECT is(momento_billing.quota_remaining('pro', 'ai_chat'), 100::bigint, 'the limit is that of the effective tier');

INSERT INTO momento_billing.usage (user_id, feature, period_start, used, held) VALUES
	('pro', 'ai_chat', pg_temp.month(), 30, 5), ('pro', 'auto_tags', pg_temp.month(), 200, 0),
	('pro', 'auto_titles', pg_temp.month(), 150, 0), ('pro', 'semantic_search', pg_temp.month(), 90, 10),
	('big', 'ai_chat', pg_temp.month(), 1000000, 0), ('nobody', 'ai_chat', pg_temp.month(), 3, 0);
SELECT is(momento_billing.quota_remaining('pro', 'ai_chat'), 65::bigint, 'less what is used and what is held');
SELECT is(momento_billing.quota_remaining('pro', 'auto_tags'), 0::bigint, 'all used');
SELECT is(momento_billing.quota_remaining('pro', 'semantic_search'), 0::bigint, 'all used or held');
SELECT is(momento_billing.quota_remaining('big', 'ai_chat'), NULL, 'unlimited stays so');
SELECT is(momento_billing.quota_remaining('nobody', 'ai_chat'), 0::bigint, 'not in the plan stays 0');
SELECT is(momento_billing.quota_remaining('pro', 'reformulation'), 50::bigint, 'another feature is untouched');

-- After a downgrade more may be used than the lower limit.
UPDATE public."Subscription" SET status = 'INACTIVE' WHERE "userId" = 'pro';
SELECT is(momento_billing.quota_remaining('pro', 'auto_titles'), 0::bigint, 'a downgrade leaves nothing, never less');
SELECT results_eq($$SELECT tier, used, held, monthly_limit, remaining FROM momento_billing.quota_remaining('pro') WHERE feature = 'auto_titles'$$,
	$$VALUES ('BASIC', 150::bigint, 0::bigint, 10::bigint, 0::bigint)$$, 'and says what was used');
UPDATE momento_billing.usage SET used = 9223372036854775807, held = 9223372036854775807 WHERE user_id = 'pro' AND feature = 'auto_tags';
SELECT is(momento_billing.quota_remaining('pro', 'auto_tags'), 0::bigint, 'sums do not overflow');
UPDATE public."Subscription" SET status = 'ACTIVE' WHERE "userId" = 'pro';

-- One row per feature.
SELECT set_eq($$SELECT feature FROM momento_billing.quota_remaining('pro')$$, 'SELECT feature FROM momento_billing.feature', 'every feature has a row');
SELECT results_eq($$SELECT tier, used, held, monthly_limit, remaining, unlimited, included FROM momento_billing.quota_remaining('pro') WHERE feature = 'ai_chat'$$,
	$$VALUES ('PRO', 30::bigint, 5::bigint, 100::bigint, 65::bigint, false, true)$$, 'with its numbers');
SELECT results_eq($$SELECT used, monthly_limit, remaining, unlimited, included FROM momento_billing.quota_remaining('big') WHERE feature = 'ai_chat'$$,
	$$VALUES (1000000::bigint, NULL::bigint, NULL::bigint, true, true)$$, 'unlimited');
SELECT results_eq($$SELECT used, monthly_limit, remaining, unlimited, included FROM momento_billing.quota_remaining('nobody') WHERE feature = 'ai_chat'$$,
	$$VALUES (3::bigint, NULL::bigint, 0::bigint, false, false)$$, 'not in the plan');
SELECT ok((SELECT bool_and(q.remaining IS NOT DISTINCT FROM momento_billing.quota_remaining(u, q.feature))
	FROM unnest('{pro,big,nobody}'::text[]) AS u, momento_billing.quota_remaining(u) AS q), 'both forms agree');

-- The period is the calendar month of UTC, whatever the session's zone.
SELECT results_eq($$SELECT DISTINCT period_start, resets_at FROM momento_billing.quota_remaining('pro')$$,
	$$SELECT pg_temp.month(), (pg_temp.month() AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'$$, 'the period in UTC');
SET LOCAL timezone = 'Pacific/Kiritimati';
SELECT results_eq($$SELECT DISTINCT period_start, resets_at FROM momento_billing.quota_remaining('pro')$$,
	$$SELECT pg_temp.month(), (pg_temp.month() AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'$$, 'in the furthest east');
SELECT is(momento_billing.quota_remaining('pro', 'ai_chat'), 65::bigint, 'and what was used in it');
SET LOCAL timezone = 'Pacific/Pago_Pago';
SELECT results_eq($$SELECT DISTINCT period_start, resets_at FROM momento_billing.quota_remaining('pro')$$,
	$$SELECT pg_temp.month(), (pg_temp.month() AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'$$, 'in the furthest west');
SET LOCAL timezone = 'UTC';
INSERT INTO momento_billing.usage (user_id, feature, period_start, used) VALUES
	('pro', 'reformulation', (pg_temp.month() AT TIME ZONE 'UTC' - interval '1 month') AT TIME ZONE 'UTC', 50),
	('pro', 'brainstorm_create', (pg_temp.month() AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC', 30);
SELECT is(momento_billing.quota_remaining('pro', 'reformulation'), 50::bigint, 'last month''s usage does not count');
SELECT is(momento_billing.quota_remaining('pro', 'brainstorm_create'), 30::bigint, 'nor next month''s');

-- The session's user.
SELECT throws_ok('SELECT * FROM momento_billing.quota_remaining()', '22023', NULL, 'no user is set');
SET LOCAL momento_billing.user_id = 'pro';
SELECT results_eq('SELECT * FROM momento_billing.quota_remaining()', $$SELECT * FROM momento_billing.quota_remaining('pro')$$, 'the session''s user');
SET LOCAL momento_billing.user_id = 'big';
SELECT is((SELECT DISTINCT tier FROM momento_billing.quota_remaining()), 'ENTERPRISE', 'which may change');
SELECT throws_ok($$SELECT momento_billing.quota_remaining('pro', 'teleport')$$, '22023', 'unknown feature "teleport"', 'an unknown feature is an error');
SELECT throws_ok($$SELECT momento_billing.quota_remaining(NULL, 'ai_chat')$$, '22023', NULL, 'an undefined user is never unlimited');
SELECT throws_ok($$SELECT momento_billing.quota_remaining('big', NULL)$$, '22023', NULL, 'nor an undefined feature');
SELECT * FROM finish();
ROLLBACK;
