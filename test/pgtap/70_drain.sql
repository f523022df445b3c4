-- drain_inbox(), and which events are no business of ours.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.bought(n int, created timestamptz DEFAULT '2026-01-01 00:00+00') RETURNS jsonb LANGUAGE sql AS $$
	SELECT fixture.event('evt_' || n, 'customer.subscription.created', created,
		fixture.subscription('sub_' || n, 'active', customer => 'cus_' || n, user_id => 'u' || n))
$$;

SELECT is(momento_billing.drain_inbox(), 0::bigint, 'an empty inbox');
INSERT INTO momento_billing.webhook_inbox (payload) SELECT pg_temp.bought(n) FROM generate_series(1, 10) AS n;
SELECT is(momento_billing.drain_inbox(0), 0::bigint, 'max_events 0 does nothing');
SELECT is(momento_billing.drain_inbox(3), 3::bigint, 'max_events is a limit');
SELECT is((SELECT array_agg(event_id::text ORDER BY id) FROM momento_billing.webhook_inbox WHERE status = 'processed'), '{evt_1,evt_2,evt_3}', 'the oldest come first');
SAVEPOINT retries;
UPDATE momento_billing.webhook_inbox SET status = 'pending', next_attempt_at = clock_timestamp() - interval '1 s' WHERE status = 'processed';
SELECT is(momento_billing.drain_inbox(4), 4::bigint, 'max_events is a limit of retries and new events together');
ROLLBACK TO retries;
SAVEPOINT drained;
SELECT is(momento_billing.drain_inbox(), 7::bigint, 'NULL is no limit');
SELECT is((SELECT count(*) FROM public."Subscription" WHERE tier = 'PRO' AND status = 'ACTIVE'), 10::bigint, 'every user has a row');
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'and nothing is left');
ROLLBACK TO drained;
SELECT is((SELECT count(*) FROM public."Subscription"), 3::bigint, 'taken back, nothing of it remains');
SELECT is(momento_billing.drain_inbox(), 7::bigint, 'and all of it is due again');

-- Many events of one subscription, in disorder, in one batch and in many.
CREATE FUNCTION pg_temp.life(u text, batch int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO momento_billing.webhook_inbox (payload)
		SELECT fixture.event('evt_' || u || '_' || n, 'customer.subscription.' || type, at, fixture.subscription('sub_' || u, status,
			customer => 'cus_' || u, user_id => u, starts => starts, ends => ends,
			extra => jsonb_build_object('cancel_at_period_end', canceling)))
		FROM (VALUES (1, 'created', '2026-01-01'::timestamptz, 'incomplete', '2026-01-01'::timestamptz, '2026-02-01'::timestamptz, false),
			(2, 'updated', '2026-01-01', 'active', '2026-01-01', '2026-02-01', false),
			(3, 'updated', '2026-02-01', 'active', '2026-02-01', '2097-03-01', false),
			(4, 'updated', '2026-02-01 01:00', 'past_due', '2026-02-01', '2097-03-01', false),
			(5, 'updated', '2026-02-03', 'active', '2026-02-01', '2097-03-01', false),
			(6, 'updated', '2026-02-10', 'active', '2026-02-01', '2097-03-01', true)) AS v (n, type, at, status, starts, ends, canceling)
		ORDER BY md5(u || n);
	WHILE momento_billing.drain_inbox(batch) > 0 LOOP
	END LOOP;
	RETURN fixture.app_row(u) || ' ' || extract(year FROM fixture.period_end(u));
END
$$;
SELECT is(pg_temp.life('life' || n || '_' || batch, batch), format('PRO ACTIVE sub_life%s_%s canceling 2097', n, batch), format('promise 1: any order (%s), batches of %s', n, batch))
	FROM generate_series(1, 5) AS n, unnest('{1,2,100}'::int[]) AS batch;

-- sync and the drain share the inbox.
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.bought(20));
SELECT is((SELECT outcome FROM momento_billing.sync_subscription_from_event(pg_temp.bought(20))), 'applied', 'sync takes a pending event over');
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_20'), 1::bigint, 'which stays one row');
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'and is drained no more');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.bought(20)) ON CONFLICT (event_id) DO NOTHING;
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'R25: a re-delivery never turns processed back into pending');
SELECT is((SELECT outcome FROM momento_billing.sync_subscription_from_event(pg_temp.bought(20))), 'duplicate', 'nor does sync');

-- Rows that are no events.
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('[]'), ('7'), ('"x"'), ('null'), ('{}'), ('{"id": "evt_junk"}');
INSERT INTO momento_billing.webhook_inbox (payload_raw, status, reason) VALUES ('{"a": "\\u0000"}', 'dead', 'not_jsonb');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.bought(21));
SELECT is(momento_billing.drain_inbox(), 7::bigint, 'rows that are no events do not stop the queue');
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'ignored' AND reason = 'not_an_event'), 6::bigint, 'rule 7: they are ignored, with the reason');
SELECT is(fixture.app_row('u21'), 'PRO ACTIVE sub_21', 'and what follows is applied');
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'dead'), 1::bigint, 'what is dead stays so');

-- Events that are not for us (rule 7).
SELECT is(fixture.sync(type, 'evt_type_' || type, '2026-01-01', '{"id": "x_1"}'), 'ignored ' || reason, CASE reason WHEN 'redundant' THEN 'R32: ' ELSE 'rule 7: ' END || type)
	FROM (VALUES ('customer.created', 'unhandled_type'), ('charge.succeeded', 'unhandled_type'), ('checkout.session.expired', 'unhandled_type'),
		('invoice.paid', 'redundant'), ('invoice.payment_succeeded', 'redundant')) AS v (type, reason);
SELECT is(fixture.sync('customer.subscription.updated', 'evt_00000000000000', '2026-01-01', fixture.subscription('sub_x', 'active', user_id => 'ux')),
	'ignored sample_event', 'R35: a sample of the dashboard, by the event''s id');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_sample', '2026-01-01', fixture.subscription('sub_00000000000000', 'active', user_id => 'ux')),
	'ignored sample_event', 'R35: and by its object''s');
SELECT is((SELECT concat_ws(' ', outcome, reason) FROM momento_billing.sync_subscription_from_event(
	'{"id": "evt_thin", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "created": "2026-01-01T00:00:00Z", "livemode": true}')),
	'ignored thin_event', 'R11: a thin event');
SELECT is((SELECT concat_ws(' ', outcome, reason) FROM momento_billing.sync_subscription_from_event(
	'{"object": "event", "type": "invoice.upcoming", "created": 1767225600, "data": {"object": {"object": "invoice", "subscription": "sub_1"}}}')),
	'ignored not_an_event', 'R11: an event without an id');
SELECT is(fixture.app_row('ux'), NULL, 'rule 7: none of them has any effect');

-- Modes.
CREATE FUNCTION pg_temp.in_mode(id text, livemode bool) RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.created', 'evt_mode_' || id, '2026-01-01 00:00+00',
		fixture.subscription('sub_mode_' || id, 'active', customer => 'cus_mode_' || id, user_id => 'u_mode_' || id), livemode => livemode)
$$;
SELECT is(pg_temp.in_mode('1', true), 'applied', 'livemode any takes live events');
SELECT is(pg_temp.in_mode('2', false), 'applied', 'and test events');
SET LOCAL momento_billing.livemode = 'live';
SELECT is(pg_temp.in_mode('3', true), 'applied', 'live takes live events');
SELECT is(pg_temp.in_mode('4', false), 'ignored other_livemode', 'rule 7: and no test events');
SET LOCAL momento_billing.livemode = 'test';
SELECT is(pg_temp.in_mode('5', true), 'ignored other_livemode', 'rule 7: test takes no live events');
SELECT is(pg_temp.in_mode('6', false), 'applied', 'and test events');
SELECT is(fixture.app_row('u_mode_4'), NULL, 'rule 7: an event of the other mode has no effect');
RESET momento_billing.livemode;

-- Recorded events of several API versions.
INSERT INTO momento_billing.price VALUES ('price_1T2aProMonth', 'PRO', 'month', false), ('price_1T2aProMonthOld', 'PRO', 'month', false),
	('price_1T2aBusinessYear', 'BUSINESS', 'year', false);
\set created `cat test/fixtures/events/subscription_created.basil.json`
\set updated `cat test/fixtures/events/subscription_updated.acacia.json`
\set failed `cat test/fixtures/events/invoice_payment_failed.basil.json`
\set due `cat test/fixtures/events/subscription_updated.basil.json`
\set deleted `cat test/fixtures/events/subscription_deleted.basil.json`
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (:'due'), (:'failed'), (:'created'), (:'updated');
SELECT is(momento_billing.drain_inbox(), 4::bigint, 'R1: recorded events of both shapes');
SELECT is(fixture.app_row('clx4k2v9d0001qz8r5t7h3m6n'), 'PRO PAST_DUE sub_1T2aKf7QmZ4xLw9D', 'R1: come to one row');
SELECT is(fixture.period_end('clx4k2v9d0001qz8r5t7h3m6n'), to_timestamp(1777626000), 'R2: with its period');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (:'deleted');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'and the end');
SELECT is((SELECT status::text FROM public."Subscription" WHERE "userId" = 'clx4k2v9d0001qz8r5t7h3m6n'), 'CANCELED', 'is the end');

-- An event whose payload somebody has taken away is settled, also as a retry.
INSERT INTO momento_billing.webhook_inbox (payload) SELECT fixture.event(id, 'customer.subscription.updated', now(),
	fixture.subscription('sub_' || id, 'active', user_id => 'u_' || id)) FROM (VALUES ('evt_emptied'), ('evt_emptied_later')) AS v (id);
UPDATE momento_billing.webhook_inbox SET payload = NULL, status = CASE event_id WHEN 'evt_emptied' THEN 'pending' ELSE 'waiting' END,
	next_attempt_at = CASE event_id WHEN 'evt_emptied_later' THEN now() END WHERE event_id IN ('evt_emptied', 'evt_emptied_later');
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'two events without payload');
SELECT is(fixture.inbox('evt_emptied') || ', ' || fixture.inbox('evt_emptied_later'), 'ignored no_payload, ignored no_payload', 'are ignored');
SELECT * FROM finish();
ROLLBACK;
