-- Events of one second (R19): their previous_attributes put them in order,
-- else their ids do, whatever comes first and however it comes (R21).
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.day(n numeric) RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT date_trunc('second', now()) + n * interval '1 day'$$;
CREATE FUNCTION pg_temp.orders(n int) RETURNS SETOF int[] LANGUAGE sql AS $$
	WITH RECURSIVE o AS (
		SELECT '{}'::int[] AS things
		UNION ALL
		SELECT o.things || i FROM o, generate_series(1, n) AS i WHERE NOT i = ANY (o.things)
	)
	SELECT things FROM o WHERE cardinality(things) = n ORDER BY things
$$;
CREATE FUNCTION pg_temp.name(things int[]) RETURNS text LANGUAGE sql AS $$SELECT array_to_string(things, '')$$;
-- What the only item was before.
CREATE FUNCTION pg_temp.was(price text DEFAULT NULL, starts numeric DEFAULT NULL, ends numeric DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('items', jsonb_build_object('data', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
		'price', CASE WHEN price IS NOT NULL THEN jsonb_build_object('id', price) END,
		'current_period_start', fixture.unix(pg_temp.day(starts)), 'current_period_end', fixture.unix(pg_temp.day(ends)))))))
$$;
-- The events of some lives; each n of a life is one event.  The ids sort
-- against the order in which the events were made.
CREATE FUNCTION pg_temp.event(life text, u text, n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT fixture.event('evt_' || u || '_' || 9 - n, 'customer.subscription.' || type, pg_temp.day(created),
		fixture.subscription('sub_' || u, status, customer => 'cus_' || u, user_id => u, price => price, starts => pg_temp.day(starts), ends => pg_temp.day(ends),
			extra => coalesce(extra, '{}')), previous)
	FROM (VALUES
		-- a change of plan, a planned cancel, another price, all at once
		('chain', 1, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL::jsonb, pg_temp.was('price_pro_month')),
		('chain', 2, 'updated', -5, 'active', 'price_business_month', -10, 20, '{"cancel_at_period_end": true}', '{"cancel_at_period_end": false}'),
		('chain', 3, 'updated', -5, 'active', 'price_pro_year', -10, 355, '{"cancel_at_period_end": true}', pg_temp.was('price_business_month', -10, 20)),
		-- there and back, and away again
		('back', 1, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL, pg_temp.was('price_pro_month')),
		('back', 2, 'updated', -5, 'active', 'price_pro_month', -10, 20, NULL, pg_temp.was('price_business_month')),
		('back', 3, 'updated', -5, 'past_due', 'price_pro_month', -10, 20, NULL, '{"status": "active"}'),
		-- the first purchase, with an upgrade in its second
		('first', 1, 'created', -5, 'incomplete', 'price_pro_month', -5, 25, NULL, NULL),
		('first', 2, 'updated', -5, 'active', 'price_pro_month', -5, 25, NULL, '{"status": "incomplete"}'),
		('first', 3, 'updated', -5, 'active', 'price_business_month', -5, 25, NULL, pg_temp.was('price_pro_month')),
		('first', 4, 'deleted', -5, 'canceled', 'price_business_month', -5, 25, '{"cancel_at_period_end": true}', NULL),
		-- what was tied is no longer the state, but its tier still counts
		('tier', 1, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL, pg_temp.was('price_pro_month')),
		('tier', 2, 'updated', -5, 'active', 'price_pro_year', -10, 20, NULL, pg_temp.was('price_business_month')),
		('tier', 3, 'updated', -4, 'active', 'price_of_another_product', -10, 20, NULL, pg_temp.was('price_pro_year')),
		-- nor is it the state here, but its period was the last one paid for
		('live', 1, 'updated', -5, 'active', 'price_pro_month', -10, 20, NULL, pg_temp.was(NULL, -40, -10)),
		('live', 2, 'updated', -5, 'active', 'price_pro_month', -10, 10, NULL, pg_temp.was(NULL, -10, 20)),
		('live', 3, 'deleted', -4, 'canceled', 'price_pro_month', -10, 40, NULL, NULL),
		-- a charge that failed and was repeated with success
		('recovered', 1, 'updated', -5, 'past_due', 'price_pro_month', -5, 25, NULL, '{"status": "active"}' || pg_temp.was(NULL, -35, -5)),
		('recovered', 2, 'updated', -5, 'active', 'price_pro_month', -5, 25, NULL, '{"status": "past_due"}'),
		('recovered', 3, 'deleted', -1, 'canceled', 'price_pro_month', -5, 25, '{"cancellation_details": {"reason": "cancellation_requested"}}', NULL),
		-- two events for one change (R23)
		('doubled', 1, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL, pg_temp.was('price_pro_month')),
		('doubled', 2, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL, pg_temp.was('price_pro_month')),
		('doubled', 3, 'updated', -5, 'active', 'price_business_month', -10, 20, '{"cancel_at_period_end": true}', '{"cancel_at_period_end": false}'),
		-- nothing but the ids tells these apart
		('ids', 1, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL, NULL),
		('ids', 2, 'updated', -5, 'past_due', 'price_pro_month', -10, 20, NULL, NULL),
		('ids', 3, 'updated', -5, 'trialing', 'price_pro_month', -10, 20, NULL, NULL),
		-- two ends: a chain with a gap in it
		('gap', 1, 'updated', -5, 'active', 'price_business_month', -10, 20, NULL, pg_temp.was('price_pro_month')),
		('gap', 2, 'updated', -5, 'past_due', 'price_business_year', -10, 20, NULL, '{"status": "active"}'),
		('gap', 3, 'updated', -5, 'past_due', 'price_pro_year', -10, 20, NULL, pg_temp.was('price_business_year'))
	) AS e (l, i, type, created, status, price, starts, ends, extra, previous)
	WHERE l = life AND i = n
$$;
CREATE FUNCTION pg_temp.row(u text) RETURNS text LANGUAGE sql AS $$
	SELECT fixture.app_row(u) || ' ' || round(extract(epoch FROM fixture.period_end(u) - pg_temp.day(0)) / 86400)
$$;
-- A life in some order: by sync, or by drain_inbox in batches of a size.
CREATE FUNCTION pg_temp.play(life text, things int[], batch int DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	u text := concat_ws('_', life, pg_temp.name(things), batch);
	thing int;
BEGIN
	FOREACH thing IN ARRAY things LOOP
		IF batch IS NULL THEN
			PERFORM momento_billing.sync_subscription_from_event(pg_temp.event(life, u, thing));
		ELSE
			INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.event(life, u, thing));
		END IF;
	END LOOP;
	WHILE momento_billing.drain_inbox(batch) > 0 LOOP
	END LOOP;
	RETURN replace(pg_temp.row(u), 'sub_' || u, 'sub');
END
$$;
CREATE TEMP TABLE life (life text, events int, outcome text, what text);
INSERT INTO life VALUES
	('chain', 3, 'PRO ACTIVE sub canceling 355', 'R21: three updates of one second end where their chain ends'),
	('back', 3, 'PRO PAST_DUE sub 20', 'R21: a chain that comes back to where it was'),
	('first', 4, 'BUSINESS CANCELED sub canceling 25', 'R21: created, two updates and deleted in one second'),
	('tier', 3, 'PRO ACTIVE sub 20', 'R21: the tier of an older second that was tied'),
	('live', 3, 'PRO CANCELED sub 10', 'R21: the paid period of an older second that was tied'),
	('recovered', 3, 'PRO CANCELED sub 25', 'R14: a fall and a recovery in one second'),
	('doubled', 3, 'BUSINESS ACTIVE sub canceling 20', 'R23: two events for one change, and the next change'),
	('ids', 3, 'BUSINESS ACTIVE sub 20', 'R21: without a chain the greatest id wins'),
	('gap', 3, 'BUSINESS ACTIVE sub 20', 'R21: and where the chain has a gap');
SELECT is(pg_temp.play(life, o, batch), outcome, format('%s; order %s, %s', what, pg_temp.name(o), coalesce('by drain_inbox, batches of ' || batch, 'by sync')))
	FROM life, LATERAL pg_temp.orders(events) AS o, unnest('{NULL,1,2,100}'::int[]) AS batch
	WHERE events = 3 OR batch IS NULL OR batch > 1 ORDER BY life, batch, o;
-- Repeated, and half by sync, half by the drain.
INSERT INTO momento_billing.webhook_inbox (payload) SELECT pg_temp.event('chain', 'mixed', n) FROM unnest('{3,1}'::int[]) AS n;
SELECT is((SELECT outcome FROM momento_billing.sync_subscription_from_event(pg_temp.event('chain', 'mixed', 2))), 'applied', 'R25: one by sync');
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'R25: two by the drain');
SELECT is(pg_temp.row('mixed'), 'PRO ACTIVE sub_mixed canceling 355', 'R25: all the same');
SELECT is((SELECT outcome FROM momento_billing.sync_subscription_from_event(pg_temp.event('chain', 'mixed', n))), 'duplicate', 'R24: event ' || n || ' again')
	FROM generate_series(1, 3) AS n;
SELECT ok(momento_billing.replay_event('evt_mixed_' || 9 - n), 'event ' || n || ' is replayed') FROM generate_series(1, 3) AS n;
SELECT is(momento_billing.drain_inbox(), 3::bigint, 'and read again');
SELECT is(pg_temp.row('mixed'), 'PRO ACTIVE sub_mixed canceling 355', 'R23: which changes nothing');

-- Outcomes and reasons.
CREATE FUNCTION pg_temp.sync(life text, u text, n int) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', outcome, reason) FROM momento_billing.sync_subscription_from_event(pg_temp.event(life, u, n))
$$;
CREATE FUNCTION pg_temp.ties(u text) RETURNS jsonb LANGUAGE sql AS $$SELECT tie_events FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_' || u$$;
SELECT is(pg_temp.sync('chain', 'said', 2), 'applied', 'R21: the second of three');
SELECT is(pg_temp.ties('said'), NULL, 'R21: alone it ties with nothing');
SELECT is(pg_temp.sync('chain', 'said', 1), 'stale older_than_state', 'R21: its predecessor changes nothing');
SELECT is(pg_temp.ties('said'), jsonb_build_array(jsonb_build_object('id', 'evt_said_8', 'created', fixture.unix(pg_temp.day(-5))),
	jsonb_build_object('id', 'evt_said_7', 'created', fixture.unix(pg_temp.day(-5)))), 'R21: tie_events has both');
SELECT is(pg_temp.sync('chain', 'said', 3), 'applied', 'R21: its successor is applied');
SELECT is(jsonb_array_length(pg_temp.ties('said')), 3, 'R21: tie_events has all three');
SELECT is((SELECT string_agg(fixture.inbox('evt_said_' || n), ', ' ORDER BY n) FROM generate_series(6, 8) AS n), 'processed, processed, processed older_than_state',
	'R21: none of them was decided by id');
SELECT is(pg_temp.sync('ids', 'byid', 2), 'applied', 'R21: no chain');
SELECT is(pg_temp.sync('ids', 'byid', 3), 'stale tie_by_id', 'R21: a lesser id loses');
SELECT is(pg_temp.sync('ids', 'byid', 1), 'applied tie_by_id', 'R21: a greater id wins');
SELECT is(fixture.inbox('evt_byid_8'), 'processed tie_by_id', 'R21: and the inbox says that it was decided so');
SELECT is(pg_temp.sync('chain', 'twice', 2), 'applied', 'an update');
SELECT is((SELECT outcome FROM momento_billing.sync_subscription_from_event(pg_temp.event('chain', 'twice', 2) || '{"id": "evt_twice_again"}')), 'unchanged',
	'R23: two events for one change');
SELECT is(pg_temp.row('twice'), 'BUSINESS ACTIVE sub_twice canceling 20', 'R23: are one change');

-- What ties is forgotten when a newer event has set all that it had set.
SELECT is(fixture.sync('customer.subscription.updated', 'evt_said_9', pg_temp.day(-4), fixture.subscription('sub_said', 'active', price => 'price_of_another_product', extra => '{"items": {"data": []}}')),
	'applied', 'a newer event without price and period');
SELECT is(jsonb_array_length(pg_temp.ties('said')), 3, 'R21: tie_events stays while tier or period are theirs');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_said_91', pg_temp.day(-3), fixture.subscription('sub_said', 'active')), 'applied', 'one that has all');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_said_92', pg_temp.day(-2), fixture.subscription('sub_said', 'active')), 'unchanged', 'and the next');
SELECT ok(coalesce(jsonb_array_length(pg_temp.ties('said')), 0) = 0, 'R21: tie_events is empty');
SELECT is(pg_temp.sync('chain', 'said', 1), 'duplicate', 'R24: a tied event again');
SELECT is((SELECT concat_ws(' ', outcome, reason) FROM momento_billing.sync_subscription_from_event(pg_temp.event('chain', 'said', 1) || '{"id": "evt_said_00"}')), 'stale older_than_state',
	'R20: another one of that second comes too late');
SELECT is(fixture.app_row('said'), 'PRO ACTIVE sub_said', 'R20: and changes nothing');

-- A tied event whose payload is gone: what was decided stays decided.
SELECT is(pg_temp.sync('chain', 'blank', n), outcome, 'event ' || n) FROM (VALUES (1, 'applied'), (2, 'applied')) AS v (n, outcome);
UPDATE momento_billing.webhook_inbox SET payload = NULL WHERE event_id = 'evt_blank_7';
SELECT ok(momento_billing.replay_event('evt_blank_8'), 'the one that lost is replayed');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'while the winner cannot be read any more');
SELECT is(pg_temp.row('blank'), 'BUSINESS ACTIVE sub_blank canceling 20', 'R21: it loses again');
SELECT * FROM finish();
ROLLBACK;
