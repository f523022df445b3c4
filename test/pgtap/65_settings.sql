-- Settings that decide what an event, or a row, gives.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.day(n numeric) RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT date_trunc('second', now()) + n * interval '1 day'$$;
CREATE FUNCTION pg_temp.event(u text, id text, status text, starts numeric DEFAULT -10, ends numeric DEFAULT 20, created numeric DEFAULT -9,
		price text DEFAULT 'price_pro_month', extra jsonb DEFAULT '{}', livemode bool DEFAULT false, subscription text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.updated', 'evt_' || u || '_' || id, pg_temp.day(created),
		fixture.subscription(coalesce(subscription, 'sub_' || u), status, customer => 'cus_' || u, user_id => u, price => price,
			starts => pg_temp.day(starts), ends => pg_temp.day(ends), extra => extra), livemode => livemode)
$$;
CREATE FUNCTION pg_temp.tier(u text, n numeric) RETURNS text LANGUAGE sql AS $$SELECT momento_billing.effective_tier(u, pg_temp.day(n))$$;
CREATE FUNCTION pg_temp.tiers(u text, VARIADIC days numeric[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(pg_temp.tier(u, d), ' ' ORDER BY n) FROM unnest(days) WITH ORDINALITY AS x (d, n)
$$;

-- past_due_grace.
SELECT is(current_setting('momento_billing.past_due_grace'), '-1', 'past_due_grace: by default');
SELECT is(pg_temp.event('due', '1', 'past_due'), 'applied', 'past due since day -10, in a period until day 20');
SELECT is(pg_temp.tiers('due', 0, 19.9, 20), 'PRO PRO BASIC', 'past_due_grace -1: until the period''s end, as the guide says');
SET LOCAL momento_billing.past_due_grace = '15 d';
SELECT is(pg_temp.tiers('due', 0, 4.9, 5, 19), 'PRO PRO BASIC BASIC', 'past_due_grace: from the start of the unpaid period');
SELECT is(momento_billing.billing_status('due') ->> 'effectiveTier', 'PRO', 'billing_status knows it');
SELECT is((SELECT until FROM momento_billing.entitlement WHERE user_id = 'due'), pg_temp.day(5), 'so does the view');
SELECT is((SELECT until FROM momento_billing.explain_tier('due') WHERE chosen), pg_temp.day(5), 'and explain_tier');
SET LOCAL momento_billing.past_due_grace = '7 d';
SELECT is(momento_billing.effective_tier('due'), 'BASIC', 'past_due_grace: it is over');
SELECT is(momento_billing.quota_remaining('due', 'ai_chat'), 0::bigint, 'for quotas too');
SELECT is((SELECT reason FROM momento_billing.explain_tier('due') WHERE source = 'subscription'), 'period_over', 'and explained');
SET LOCAL momento_billing.past_due_grace = '60 d';
SELECT is(pg_temp.tiers('due', 19.9, 20), 'PRO BASIC', 'past_due_grace: the period''s end is the most');
SET LOCAL momento_billing.past_due_grace = 0;
SELECT is(pg_temp.tiers('due', -10.1, -10, 0), 'PRO BASIC BASIC', 'past_due_grace 0: none');
SELECT is(pg_temp.event('live', '1', 'active'), 'applied', 'active');
SELECT is(pg_temp.event('canceled', '1', 'canceled'), 'applied', 'canceled');
SELECT is(pg_temp.tier('live', 100) || ' ' || pg_temp.tier('canceled', 19), 'PRO PRO', 'past_due_grace concerns nobody else');
SELECT is(pg_temp.event('two', '1', 'past_due', price => 'price_business_month', subscription => 'sub_two_due'), 'applied', 'a BUSINESS that is past due');
SELECT is(pg_temp.event('two', '2', 'canceled', subscription => 'sub_two_end'), 'applied', 'and a canceled PRO');
SELECT is(fixture.app_row('two'), 'PRO CANCELED sub_two_end', 'rule 1: without grace the canceled one gives more');
SELECT is(pg_temp.tier('two', 0), 'PRO', 'and counts');
SET LOCAL momento_billing.past_due_grace = '15 d';
SELECT is(pg_temp.event('two', '3', 'past_due', price => 'price_business_year', subscription => 'sub_two_due', created => -8), 'applied', 'with grace');
SELECT is(fixture.app_row('two'), 'BUSINESS PAST_DUE sub_two_due', 'rule 1: the other one');
SELECT is(pg_temp.tiers('two', 4.9, 5, 20), 'BUSINESS PRO BASIC', 'and what each of them gives, for as long as it does');
RESET momento_billing.past_due_grace;

-- cancel_access.
CREATE FUNCTION pg_temp.cancel(u text, id text, ended numeric, reason text DEFAULT 'cancellation_requested', status text DEFAULT 'canceled') RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.event(u, id, status, created => ended, extra => jsonb_build_object('ended_at', fixture.unix(pg_temp.day(ended)),
		'cancellation_details', jsonb_build_object('reason', reason)))
$$;
SELECT is(current_setting('momento_billing.cancel_access'), 'period_end', 'cancel_access: by default');
SELECT is(pg_temp.event(u, '1', 'active'), 'applied', u || ' buys') FROM unnest('{kept,ended,planned,unpaid}'::text[]) AS u;
SELECT is(pg_temp.cancel('kept', '2', -2), 'applied', 'cancel_access period_end: a cancel before the period''s end');
SELECT is(pg_temp.tiers('kept', 19.9, 20), 'PRO BASIC', 'R15: what was paid is kept, as the guide says');
SET LOCAL momento_billing.cancel_access = 'ended_at';
SELECT is(pg_temp.cancel('ended', '2', -2), 'applied', 'cancel_access ended_at: the same');
SELECT is(fixture.period_end('ended'), pg_temp.day(-2), 'cancel_access: it ends when the subscription ended');
SELECT is(momento_billing.effective_tier('ended'), 'BASIC', 'and so does access');
SELECT is(pg_temp.event('planned', '2', 'active', created => -2, extra => '{"cancel_at_period_end": true}'), 'applied', 'R16: a cancel that is planned');
SELECT is(pg_temp.tiers('planned', 19.9, 21), 'PRO PRO', 'R16: is none yet');
SELECT is(pg_temp.cancel('planned', '3', 20), 'applied', 'R16: carried out at the period''s end');
SELECT is(pg_temp.tiers('planned', 19.9, 20), 'PRO BASIC', 'it takes nothing away');
SELECT is(pg_temp.cancel('unpaid', '2', 15, status => 'unpaid'), 'applied', 'unpaid is no cancel');
SELECT is(pg_temp.tier('unpaid', 16), 'PRO', 'and cancel_access does not concern it');
SELECT is(fixture.period_end('kept'), pg_temp.day(20), 'rows that are written already stay');
SELECT is(pg_temp.event('kept', '3', 'active', created => -1), 'stale older_than_state', 'until the user''s next event');
SELECT is(fixture.period_end('kept'), pg_temp.day(-2), 'of any kind');
RESET momento_billing.cancel_access;

-- livemode: what counted once is not undone by the setting.
SELECT is(pg_temp.event('mode', '1', 'active', livemode => true), 'applied', 'livemode any: a live event');
SET LOCAL momento_billing.livemode = 'test';
SELECT is(pg_temp.event('mode', '2', 'canceled', created => -8, livemode => true), 'ignored other_livemode', 'rule 7: livemode test: no live events');
SELECT is(fixture.inbox('evt_mode_2'), 'ignored other_livemode', 'it is recorded');
SELECT is(fixture.app_row('mode'), 'PRO ACTIVE sub_mode', 'what came before stays');
SELECT is((SELECT livemode FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_mode'), true, 'with its mode');
SET LOCAL momento_billing.livemode = 'live';
SELECT ok(momento_billing.replay_event('evt_mode_2'), 'the setting was wrong: the event is replayed');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'and counts');
SELECT is(fixture.app_row('mode'), 'PRO CANCELED sub_mode', 'now');
INSERT INTO momento_billing.webhook_inbox (payload) SELECT fixture.event('evt_mode_' || l, 'customer.subscription.updated', pg_temp.day(-1),
	fixture.subscription('sub_mode_' || l, 'active', customer => 'cus_mode_' || l, user_id => 'mode_' || l), livemode => l) FROM unnest('{t,f}'::bool[]) AS l;
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'by the drain');
SELECT is(fixture.inbox('evt_mode_true') || ', ' || fixture.inbox('evt_mode_false'), 'processed, ignored other_livemode', 'as by sync');
SELECT throws_ok($$SET LOCAL momento_billing.livemode = 'both'$$, '22023', NULL, 'livemode has three values');
RESET momento_billing.livemode;

-- waiting_timeout: of a fixed time; the setting itself is the server's.
CREATE FUNCTION pg_temp.nobody(id text) RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.updated', 'evt_' || id, pg_temp.day(-1), fixture.subscription('sub_' || id, 'active', customer => 'cus_' || id))
$$;
CREATE FUNCTION pg_temp.received(id text, ago interval) RETURNS void LANGUAGE sql AS $$
	UPDATE momento_billing.webhook_inbox SET received_at = clock_timestamp() - ago, next_attempt_at = clock_timestamp() - interval '1 s' WHERE event_id = 'evt_' || received.id
$$;
SELECT is(current_setting('momento_billing.waiting_timeout'), '3d', 'waiting_timeout: by default');
SELECT throws_ok($$SET LOCAL momento_billing.waiting_timeout = '1 h'$$, '55P02', NULL, 'waiting_timeout is not for a session');
SELECT is(pg_temp.nobody('w' || n), 'waiting unknown_user', 'nobody is known') FROM generate_series(1, 3) AS n;
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id ~ '^evt_w' AND next_attempt_at = received_at + interval '3 days'), 3::bigint, 'waiting_timeout: it counts from the receipt');
SELECT pg_temp.received('w1', '71 h'), pg_temp.received('w2', '73 h');
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'two are due');
SELECT is(fixture.inbox('evt_w1'), 'waiting unknown_user', 'waiting_timeout: not yet');
SELECT is(fixture.inbox('evt_w2'), 'dead unknown_user', 'waiting_timeout: passed');
SELECT is((SELECT attempts FROM momento_billing.webhook_inbox WHERE event_id = 'evt_w1'), 0, 'waiting is no failure');
SELECT is((SELECT concat_ws(' ', waiting_for, next_attempt_at) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_w2'), '', 'what is dead waits for nothing');
SELECT is((SELECT status FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_w2'), 'active', 'R26: its state is kept');
SELECT is(fixture.sync('checkout.session.completed', 'evt_w_link', pg_temp.day(0), fixture.checkout('cs_w', 'sub_w2', customer => 'cus_w2', user_id => 'w2')), 'applied', 'a link that comes after that');
SELECT is(fixture.app_row('w2'), 'PRO ACTIVE sub_w2', 'R26: still makes the row');
SELECT * FROM finish();
ROLLBACK;
