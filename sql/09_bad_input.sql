-- Bad input: a clear error or an ignored event, and nothing stored changes.
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
CREATE FUNCTION pg_temp.stored() RETURNS text LANGUAGE sql AS $$
	SELECT md5(concat_ws('/',
		(SELECT string_agg(s::text, ',' ORDER BY subscription_id) FROM momento_billing.stripe_subscription s),
		(SELECT string_agg(c::text, ',' ORDER BY customer_id) FROM momento_billing.stripe_customer c),
		(SELECT string_agg(a::text, ',' ORDER BY user_id) FROM momento_billing.other_access a),
		(SELECT string_agg(r::text, ',' ORDER BY id) FROM public."Subscription" r)))
$$;
-- The error of a statement, in one line.
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ': ' || left(sqlerrm, 80);
END
$$;
SELECT outcome, tier FROM momento_billing.sync_subscription_from_event(fixture.event('evt_1', 'customer.subscription.created',
	'2026-01-02 00:00+00', fixture.subscription('sub_1', 'active', user_id => 'u1')));
SELECT pg_temp.stored() AS before \gset

-- What is no event at all.
SELECT momento_billing.sync_subscription_from_event(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT left(e::text, 70) AS event, r.outcome, r.reason, r.stripe_subscription_id FROM unnest(ARRAY['[]', '[{"id": "evt_x"}]', '1', '-0.5', '1e300', '"evt_x"', '""', 'true', 'null', '{}',
	'{"id": null}', '{"id": ""}', '{"id": 1, "type": "t"}', '{"id": "evt_x"}', '{"id": "evt_y", "type": 5}',
	'{"id": "evt_z", "type": "t", "object": "customer", "created": 1}', '{"id": "evt_w", "type": "customer.subscription.updated"}']::jsonb[]) AS e,
	momento_billing.sync_subscription_from_event(e) AS r;
SELECT e, r.outcome, r.reason FROM unnest(ARRAY['null', '1', '"x"', '[]', '{}', '{"object": null}', '{"object": 1}', '{"object": []}',
	'{"object": {}}', '{"object": {"id": 5}}', '{"object": {"id": "sub_1"}}', '{"object": {"id": "sub_1", "status": 7}}',
	'{"object": {"id": "sub_1", "status": ""}}', '[{"object": {"id": "sub_1", "status": "canceled"}}]']::jsonb[]) WITH ORDINALITY AS d (e, n),
	momento_billing.sync_subscription_from_event(jsonb_build_object('id', 'evt_d' || n, 'object', 'event',
		'type', 'customer.subscription.updated', 'created', 2000000000, 'data', e)) AS r ORDER BY n;
SELECT pg_temp.stored() = :'before' AS nothing_changed;

-- Every field of a subscription with a value of every wrong type: a field that
-- cannot be read is as good as none. The other user never notices.
CREATE TABLE fixture.wrong (n int, value jsonb);
INSERT INTO fixture.wrong VALUES (1, 'null'), (2, 'true'), (3, '-1'), (4, '1.5'), (5, '99999999999999999999999999'), (6, '"x"'), (7, '""'),
	(8, '[]'), (9, '{}'), (10, '[[[["x"]]]]'), (11, '{"id": {"id": "x"}}'), (12, '{"data": [null, 1, "x", [], {}]}');
CREATE FUNCTION pg_temp.outcomes(base jsonb, path text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
	w fixture.wrong;
	result text;
	results text := '';
BEGIN
	FOR w IN SELECT * FROM fixture.wrong ORDER BY n LOOP
		BEGIN
			SELECT * INTO r FROM momento_billing.sync_subscription_from_event(jsonb_set(base, path, w.value));
			result := coalesce(r.reason, r.outcome);
			IF (SELECT row("userId", tier, status, "stripeSubscriptionId")::text FROM public."Subscription" WHERE "userId" = 'u1')
				<> '(u1,PRO,ACTIVE,sub_1)' THEN
				result := 'u1 has changed';
			END IF;
			RAISE EXCEPTION USING ERRCODE = 'MBT00';
		EXCEPTION WHEN SQLSTATE 'MBT00' THEN
			NULL;
		END;
		IF position(result IN results) = 0 THEN
			results := results || CASE WHEN results = '' THEN '' ELSE ', ' END || result;
		END IF;
	END LOOP;
	RETURN results;
END
$$;
CREATE FUNCTION pg_temp.all_paths(value jsonb, prefix text[] DEFAULT '{}') RETURNS SETOF text[] LANGUAGE sql AS $$
	WITH RECURSIVE node (path, value) AS (
		SELECT prefix, value
		UNION ALL
		SELECT n.path || c.key, c.value FROM node n, LATERAL (
			SELECT o.key, o.value FROM jsonb_each(CASE WHEN jsonb_typeof(n.value) = 'object' THEN n.value ELSE '{}' END) AS o
			UNION ALL
			SELECT (a.n - 1)::text, a.value FROM jsonb_array_elements(CASE WHEN jsonb_typeof(n.value) = 'array' THEN n.value ELSE '[]' END)
				WITH ORDINALITY AS a (value, n)) AS c)
	SELECT path FROM node WHERE path <> '{}' ORDER BY path
$$;
SELECT array_to_string(path, '.') AS path, pg_temp.outcomes(base, path) AS outcomes
	FROM fixture.event('evt_2', 'customer.subscription.updated', '2026-01-03 00:00+00', fixture.subscription('sub_2', 'past_due',
			customer => 'cus_2', user_id => 'u2', extra => '{"cancellation_details": {"reason": "payment_failed"}, "plan": {"id": "price_pro_month"}}'),
		'{"status": "active"}') AS base, pg_temp.all_paths(base) AS path ORDER BY path COLLATE "C";
SELECT array_to_string(path, '.') AS path, pg_temp.outcomes(base, path) AS outcomes
	FROM fixture.event('evt_2', 'checkout.session.completed', '2026-01-03 00:00+00', fixture.checkout('cs_2', 'sub_2',
			customer => 'cus_2', client_reference_id => 'u2', extra => '{"metadata": {"userId": "u2", "tier": "PRO", "priceId": "price_pro_month"}}')) AS base,
		pg_temp.all_paths(base) AS path WHERE path[1] = 'data' ORDER BY path COLLATE "C";
SELECT array_to_string(path, '.') AS path, pg_temp.outcomes(base, path) AS outcomes
	FROM fixture.event('evt_2', 'invoice.payment_failed', '2026-01-03 00:00+00', fixture.invoice('in_2', 'sub_2', customer => 'cus_2')) AS base,
		pg_temp.all_paths(base) AS path WHERE path[1] = 'data' ORDER BY path COLLATE "C";
SELECT pg_temp.stored() = :'before' AS nothing_changed;

-- Ids: 255 characters are Stripe's limit; what is longer is no id.
SAVEPOINT ids;
SELECT len, r.outcome, r.reason, length(r.user_id) AS user_id, length(r.stripe_subscription_id) AS subscription
	FROM unnest('{255,256}'::int[]) AS len, momento_billing.sync_subscription_from_event(fixture.event(rpad('evt_3', len, 'x'),
		'customer.subscription.created', '2026-01-02 00:00+00', fixture.subscription(rpad('sub_3', 255, 'x'), 'active',
			customer => rpad('cus_3', 255, 'x'), user_id => rpad('u3', 255, 'x'), price => rpad('price_3', 255, 'x')))) AS r;
SELECT f, r.outcome, r.reason FROM unnest('{subscription,customer,user,price}'::text[]) WITH ORDINALITY AS v (f, n),
	momento_billing.sync_subscription_from_event(fixture.event('evt_4' || f, 'customer.subscription.created', '2026-01-02 00:00+00',
		fixture.subscription(rpad('sub_4' || f, CASE f WHEN 'subscription' THEN 256 ELSE 10 END, 'x'), 'active',
			customer => rpad('cus_4' || f, CASE f WHEN 'customer' THEN 256 ELSE 10 END, 'x'),
			user_id => rpad('u4' || f, CASE f WHEN 'user' THEN 256 ELSE 10 END, 'x'),
			price => rpad('price_4', CASE f WHEN 'price' THEN 256 ELSE 10 END, 'x')))) AS r ORDER BY n;
SELECT length(event_id) AS event_id, status FROM momento_billing.webhook_inbox WHERE event_id LIKE 'evt_3%' ORDER BY 1;
ROLLBACK TO ids;

-- Large and deep.
SELECT r.outcome, r.reason FROM momento_billing.sync_subscription_from_event(jsonb_set(fixture.event(
	'evt_5', 'customer.subscription.created', '2026-01-02 00:00+00', fixture.subscription('sub_5', 'active', customer => 'cus_5', user_id => 'u5')),
	'{data,object,metadata,note}', to_jsonb(repeat('x', 1000000)))) AS r;
SELECT r.outcome, r.reason FROM momento_billing.sync_subscription_from_event(jsonb_set(fixture.event(
	'evt_6', 'customer.subscription.created', '2026-01-02 00:00+00', fixture.subscription('sub_6', 'active', customer => 'cus_6')),
	'{data,object,items,data}', (SELECT jsonb_agg(jsonb_build_object('price', 'price_' || i)) FROM generate_series(1, 20000) AS i))) AS r;
SELECT r.outcome, r.reason FROM momento_billing.sync_subscription_from_event(jsonb_build_object('id', 'evt_7', 'object', 'event', 'created', 1,
	'type', repeat('t', 1000000), 'data', (repeat('[', 1000) || repeat(']', 1000))::jsonb)) AS r;
SELECT r.outcome, r.reason FROM momento_billing.sync_subscription_from_event(jsonb_set(fixture.event(
	'evt_8', 'customer.subscription.created', '2026-01-02 00:00+00', fixture.subscription('sub_8', repeat('s', 1000000), customer => 'cus_8')),
	'{data,object,x}', '0')) AS r;

-- The same at the door. A body that is not UTF-8, has a zero byte or a byte
-- order mark, or is nested too deeply, is refused; none of it is shown.
SELECT fixture.write_secrets('momento_billing_regress.secret', '0600', 'whsec_test');
SET momento_billing.webhook_secret_file = 'momento_billing_regress.secret';
SELECT count(*) AS stored FROM momento_billing.webhook_inbox \gset
CREATE FUNCTION pg_temp.receive(body bytea) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.error_of(format('SELECT momento_billing.receive_webhook(%L::bytea, %L)', body, fixture.sign(body)))
$$;
SELECT what, pg_temp.receive(body) FROM (VALUES
	(1, 'latin-1', '\x7b22c3223a317d'::bytea), (2, 'overlong', '\xc080'), (3, 'surrogate in UTF-8', '\x22eda08022'),
	(4, 'zero byte', '\x7b7d00'), (5, 'zero byte inside', '\x22610062 22'), (6, 'byte order mark', '\xefbbbf7b7d'),
	(7, 'UTF-16', '\xfffe7b007d00'), (8, 'spaces', '   '), (9, 'two values', '{}{}'), (10, 'trailing comma', '{"a": 1,}'),
	(11, 'single quotes', '{''a'': 1}'), (12, 'NaN', '{"a": NaN}'), (13, 'control character', E'"a\\001"'), (14, 'half a string', '{"a": "secret'),
	(15, 'bad escape', '"\\x41"'), (16, 'half an escape', '"\\u00"'), (17, 'deep', convert_to(repeat('[', 100000) || repeat(']', 100000), 'UTF8')),
	(18, 'deep and open', convert_to(repeat('{"a":', 100000), 'UTF8'))) AS v (n, what, body) ORDER BY n;
SELECT count(*) - :stored AS added FROM momento_billing.webhook_inbox;
SELECT what, pg_temp.receive(body) FROM (VALUES
	(1, '1 MB', convert_to('{"id": "evt_big", "x": "' || repeat('x', 1000000) || '"}', 'UTF8')),
	(2, '1 MB of numbers', convert_to('[' || repeat('1,', 500000) || '1]', 'UTF8')),
	(3, 'nested', convert_to(repeat('[', 1000) || repeat(']', 1000), 'UTF8')),
	(4, 'huge number', '{"id": "evt_n", "created": 1e400}'), (5, 'tiny number', '{"x": 1e-400}'),
	(6, 'zero in a key', '{"\\u0000": 1}'), (7, 'lone low surrogate', '"\\udc00"'), (8, 'swapped surrogates', '"\\udc00\\ud800"'),
	(9, 'zero before an error of grammar', '{"a": "\\u0000", }')) AS v (n, what, body) ORDER BY n;
SELECT status, reason, payload IS NULL AS raw, count(*) FROM momento_billing.webhook_inbox WHERE event_id IS NULL OR event_id IN ('evt_big', 'evt_n')
	GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT momento_billing.drain_inbox() > 0 AS drained;
SELECT event_id, status, reason, payload IS NULL AS raw, count(*) FROM momento_billing.webhook_inbox WHERE event_id IS NULL OR event_id IN ('evt_big', 'evt_n')
	GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
SELECT fixture.remove_secrets('momento_billing_regress.secret');

-- Arguments of the reads.
SELECT momento_billing.effective_tier(repeat('x', 1000000)), momento_billing.quota_remaining(repeat('x', 1000000), 'auto_tags'),
	momento_billing.billing_status(E'\n"\\' || repeat('é', 1000)) ->> 'tier' AS tier;
SELECT pg_temp.error_of($$SELECT momento_billing.quota_remaining('u1', repeat('f', 1000))$$);
SELECT pg_temp.error_of($$SELECT momento_billing.price_id_to_tier(repeat('p', 1000))$$);
SELECT momento_billing.drain_inbox(0);
SELECT momento_billing.drain_inbox(-1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
