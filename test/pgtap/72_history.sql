-- subscription_history, dead_events, replay_event(), replay_dead().
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.day(n numeric) RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT date_trunc('second', now()) + n * interval '1 day'$$;
CREATE FUNCTION pg_temp.event(u text, id text, status text, created numeric, price text DEFAULT 'price_pro_month', ends numeric DEFAULT 20, customer text DEFAULT NULL)
	RETURNS jsonb LANGUAGE sql AS $$
	SELECT fixture.event('evt_' || u || '_' || id, 'customer.subscription.updated', pg_temp.day(created),
		fixture.subscription('sub_' || u, status, customer => coalesce(customer, 'cus_' || u), user_id => u, price => price, starts => pg_temp.day(-10), ends => pg_temp.day(ends)))
$$;
CREATE FUNCTION pg_temp.sync(event jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', r.outcome, r.reason) FROM momento_billing.sync_subscription_from_event(event) AS r
$$;
CREATE FUNCTION pg_temp.history(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', coalesce(event_id, 'nobody'), coalesce(old_tier || '/' || old_status, 'new'), '->', new_tier || '/' || new_status), ', ' ORDER BY id)
	FROM momento_billing.subscription_history WHERE user_id = u
$$;

-- One line per change of a user's tier or status.
SELECT is(pg_temp.sync(pg_temp.event('u', '1', 'trialing', -9)), 'applied', 'a trial');
SELECT is(pg_temp.history('u'), 'evt_u_1 new -> PRO/TRIALING', 'history: the first row has nothing before it');
SELECT is((SELECT concat_ws(' ', old_tier IS NULL, old_status IS NULL, changed_at BETWEEN now() AND clock_timestamp()) FROM momento_billing.subscription_history WHERE user_id = 'u'),
	't t t', 'history: and a time');
SELECT is(pg_temp.sync(pg_temp.event('u', '2', 'active', -8)), 'applied', 'paid');
SELECT is(pg_temp.sync(pg_temp.event('u', '3', 'active', -7, 'price_business_month')), 'applied', 'upgraded');
SELECT is(pg_temp.sync(pg_temp.event('u', '3', 'active', -7, 'price_business_month')), 'duplicate', 'a duplicate');
SELECT is(pg_temp.sync(pg_temp.event('u', '4', 'past_due', -8)), 'stale older_than_state', 'R20: an older event');
SELECT is(pg_temp.sync(pg_temp.event('u', '5', 'active', -6, 'price_business_month')), 'unchanged', 'nothing new');
SELECT is(pg_temp.sync(pg_temp.event('u', '6', 'active', -5, 'price_business_month', 50)), 'applied', 'a new period');
SELECT is(pg_temp.sync(pg_temp.event('u', '7', 'canceled', -4, 'price_business_month', 50)), 'applied', 'canceled');
SELECT is(pg_temp.history('u'), 'evt_u_1 new -> PRO/TRIALING, evt_u_2 PRO/TRIALING -> PRO/ACTIVE, evt_u_3 PRO/ACTIVE -> BUSINESS/ACTIVE, evt_u_7 BUSINESS/ACTIVE -> BUSINESS/CANCELED',
	'history: each change of tier or status, and nothing else');
SELECT is(momento_billing.link_customer('cus_u', 'v'), 1::bigint, 'a person moves it');
SELECT is((SELECT concat_ws(' ', event_id, old_tier, old_status, new_tier, new_status) FROM momento_billing.subscription_history WHERE user_id = 'u' ORDER BY id DESC LIMIT 1),
	'BUSINESS CANCELED BASIC INACTIVE', 'history: no event is to blame');
SELECT is(pg_temp.history('v'), 'nobody new -> BUSINESS/CANCELED', 'history: nor for who gets it');
SELECT is(pg_temp.sync(pg_temp.event('w', '1', 'active', -9, customer => 'cus_w')), 'applied', 'metadata');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_w_2', pg_temp.day(-20), fixture.subscription('sub_w', 'active', customer => 'cus_w', user_id => 'w_first')), 'stale older_than_state', 'an older event names another user');
SELECT is(pg_temp.history('w'), 'evt_w_1 new -> PRO/ACTIVE, evt_w_2 PRO/ACTIVE -> BASIC/INACTIVE', 'history: the event to blame for a loss');
SELECT is(pg_temp.history('w_first'), 'evt_w_2 new -> PRO/ACTIVE', 'history: and for a gain');
SELECT is(pg_temp.sync(fixture.event('evt_x_1', 'customer.subscription.updated', pg_temp.day(-5), fixture.subscription('sub_x', 'active', customer => 'cus_x'))), 'waiting unknown_user', 'nobody is known');
SELECT is((SELECT count(*) FROM momento_billing.subscription_history WHERE event_id = 'evt_x_1'), 0::bigint, 'history: no row, no history');
SELECT is(fixture.sync('checkout.session.completed', 'evt_x_2', pg_temp.day(-6), fixture.checkout('cs_x', 'sub_x', customer => 'cus_x', user_id => 'x')), 'applied', 'the link');
SELECT is(pg_temp.history('x'), 'evt_x_2 new -> PRO/ACTIVE', 'history: the event that made the row');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.event('batch', '1', 'trialing', -9)), (pg_temp.event('batch', '2', 'active', -8)), (pg_temp.event('batch2', '1', 'active', -8));
SELECT is(momento_billing.drain_inbox(), 3::bigint, 'a batch');
SELECT is(pg_temp.history('batch'), 'evt_batch_2 new -> PRO/ACTIVE', 'history: several events at once are one change, of the last one');
SELECT is(pg_temp.history('batch2'), 'evt_batch2_1 new -> PRO/ACTIVE', 'history: each user has the own');

-- A row that the app's table refused is no history.
ALTER TABLE public."Subscription" ADD CONSTRAINT no_bad CHECK ("userId" !~ '^bad');
SELECT is(pg_temp.sync(pg_temp.event('bad' || n, '1', 'active', -9)), 'waiting app_table_error', 'a row that the app refuses') FROM generate_series(1, 5) AS n;
SELECT is(pg_temp.history('bad1'), NULL, 'history: is none');

-- Dead events.
INSERT INTO momento_billing.webhook_inbox (payload_raw, status, reason, received_at) VALUES ('{"a": "\\u0000"}', 'dead', 'not_jsonb', now() - interval '1 h');
UPDATE momento_billing.webhook_inbox SET attempts = 11, next_attempt_at = now(), received_at = now() - substr(event_id, 8, 1)::int * interval '1 day' WHERE event_id ~ '^evt_bad';
SELECT is(momento_billing.drain_inbox(), 5::bigint, 'the last attempt of five events');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_conflict', pg_temp.day(0), fixture.subscription('sub_batch', 'active', customer => 'cus_batch', user_id => 'batch2')), 'ignored link_conflict', 'and a conflict');
SELECT is((SELECT string_agg(concat_ws(' ', event_id, reason, attempts, can_replay), ', ' ORDER BY d.id) FROM momento_billing.dead_events AS d WHERE event_id IS NOT NULL),
	'evt_bad1_1 app_table_error 12 t, evt_bad2_1 app_table_error 12 t, evt_bad3_1 app_table_error 12 t, evt_bad4_1 app_table_error 12 t, evt_bad5_1 app_table_error 12 t, evt_conflict link_conflict 0 t',
	'dead_events: what a person has to look at, oldest first');
SELECT is((SELECT concat_ws(' ', reason, can_replay) FROM momento_billing.dead_events WHERE event_id IS NULL), 'not_jsonb f', 'dead_events: also what cannot be replayed');
SELECT ok((SELECT bool_and(dead_since >= now() AND received_at <= clock_timestamp()) FROM momento_billing.dead_events WHERE event_id IS NOT NULL), 'dead_events: since when');
SELECT matches((SELECT last_error FROM momento_billing.dead_events WHERE event_id = 'evt_bad1_1'), '^23514: .*"no_bad"', 'dead_events: and why');
SELECT is((SELECT count(*) FROM momento_billing.dead_events), 7::bigint, 'dead_events: nothing else');

-- replay_dead().
SELECT throws_ok('SELECT momento_billing.replay_dead(max_events => -1)', '22023', NULL, 'replay_dead: a negative number');
SELECT is(momento_billing.replay_dead(dry_run => true), 6::bigint, 'replay_dead: dry_run: what has a payload');
SELECT is(momento_billing.replay_dead('60 h', dry_run => true), 3::bigint, 'replay_dead: dry_run: older_than');
SELECT is(momento_billing.replay_dead('60 h', 2, true), 2::bigint, 'replay_dead: dry_run: max_events');
SELECT is(momento_billing.replay_dead(max_events => 0), 0::bigint, 'replay_dead: max_events 0');
SELECT is((SELECT count(*) FROM momento_billing.dead_events), 7::bigint, 'replay_dead: nothing has happened yet');
SELECT is(momento_billing.replay_dead('36 h', 2), 2::bigint, 'replay_dead: two of those that are old');
SELECT is((SELECT string_agg(concat_ws(' ', event_id, status, reason, attempts, processed_at), ', ' ORDER BY id) FROM momento_billing.webhook_inbox WHERE status = 'pending'),
	'evt_bad2_1 pending 0, evt_bad3_1 pending 0', 'replay_dead: the first received first, with all attempts');
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'they are due at once');
SELECT is(fixture.inbox('evt_bad2_1'), 'waiting app_table_error', 'and wait, as before');
ALTER TABLE public."Subscription" DROP CONSTRAINT no_bad;
SELECT is(momento_billing.replay_dead(), 4::bigint, 'replay_dead: the rest');
SELECT is(momento_billing.drain_inbox(), 4::bigint, 'replayed');
SELECT is((SELECT string_agg(fixture.inbox('evt_bad' || n || '_1'), ', ' ORDER BY n) FROM generate_series(1, 5) AS n),
	'processed, waiting app_table_error, waiting app_table_error, processed, processed', 'what is mended is done');
SELECT is(fixture.app_row('bad1'), 'PRO ACTIVE sub_bad1', 'with its effect');
SELECT is(fixture.inbox('evt_conflict'), 'dead link_conflict', 'a conflict that is not mended is dead again');
SELECT is(momento_billing.replay_dead('1 h'), 0::bigint, 'replay_dead: the age is that of the receipt, so nothing is left');

-- replay_event().
SELECT ok(NOT momento_billing.replay_event('evt_nobody_knows'), 'replay_event: an event that is not there');
SELECT is(momento_billing.replay_event(NULL), false, 'replay_event: nor NULL');
SELECT is(fixture.sync('invoice.paid', 'evt_ignored', pg_temp.day(0), '{"id": "in_1"}'), 'ignored redundant', 'an event that was ignored');
SELECT ok(momento_billing.replay_event(e), 'replay_event: ' || e) FROM unnest('{evt_u_7,evt_bad2_1,evt_ignored,evt_conflict}'::text[]) AS e;
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', status, reason, attempts, waiting_for, processed_at), ', ') FROM momento_billing.webhook_inbox
	WHERE event_id IN ('evt_u_7', 'evt_bad2_1', 'evt_ignored', 'evt_conflict')), 'pending 0', 'replay_event: whatever it was, it is pending');
CREATE TEMP TABLE rows AS SELECT * FROM public."Subscription";
SELECT is(momento_billing.drain_inbox(), 4::bigint, 'replayed');
SELECT is((SELECT string_agg(fixture.inbox(e), ', ' ORDER BY e) FROM unnest('{evt_u_7,evt_bad2_1,evt_ignored,evt_conflict}'::text[]) AS e),
	'processed, dead link_conflict, ignored redundant, processed unchanged', 'replay_event: each comes to what it is');
SELECT results_eq('SELECT * FROM public."Subscription" WHERE "userId" <> ''bad2'' ORDER BY id', 'SELECT * FROM rows ORDER BY id', 'R20: a replay hurts nobody');
SELECT is(pg_temp.sync(pg_temp.event('u', '7', 'canceled', -4, 'price_business_month', 50)), 'duplicate', 'R24: a replayed event is a duplicate as before');
UPDATE momento_billing.webhook_inbox SET payload = NULL WHERE event_id = 'evt_u_1';
SELECT throws_ok($$SELECT momento_billing.replay_event('evt_u_1')$$, '55000', 'event "evt_u_1" has no payload to be applied', 'replay_event: an event whose payload is gone');
-- A waiting event is not doubled, nor lost.
SELECT is(pg_temp.sync(fixture.event('evt_y_1', 'customer.subscription.updated', pg_temp.day(-5), fixture.subscription('sub_y', 'active', customer => 'cus_y'))), 'waiting unknown_user', 'nobody is known');
SELECT ok(momento_billing.replay_event('evt_y_1'), 'replay_event: of an event that waits');
SELECT is(momento_billing.link_customer('cus_y', 'y'), 1::bigint, 'its user comes just now');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'then it is drained');
SELECT is(fixture.inbox('evt_y_1') || ', ' || fixture.app_row('y'), 'processed unchanged, PRO ACTIVE sub_y', 'and has nothing left to do');
SELECT * FROM finish();
ROLLBACK;
