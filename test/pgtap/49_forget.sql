-- forget_user(): nothing of a user is left, and nothing comes back.
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up_quotas();

-- How often a text is anywhere in our tables, but for the hashes.
CREATE FUNCTION pg_temp.mentions(what text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	one regclass;
	n bigint;
	total bigint := 0;
BEGIN
	FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'momento_billing'::regnamespace AND relkind = 'r' LOOP
		EXECUTE format('SELECT count(*) FROM %s AS t WHERE strpos(t::text, %L) > 0', one, what) INTO n;
		total := total + n;
	END LOOP;
	RETURN total;
END
$$;
CREATE FUNCTION pg_temp.live(u text, id text, day int, named bool DEFAULT true) RETURNS jsonb LANGUAGE sql AS $$
	SELECT fixture.event('evt_' || id, 'customer.subscription.updated', '2026-01-01 00:00+00'::timestamptz + day * interval '1 day',
		fixture.subscription('sub_' || u, 'active', customer => 'cus_' || u, user_id => CASE WHEN named THEN u END))
$$;

-- Two users who have everything.
SELECT count(momento_billing.sync_subscription_from_event(pg_temp.live(u, u || '_1', 1))) FROM (VALUES ('adele'), ('berta')) AS v (u);
SELECT momento_billing.sync_subscription_from_event(fixture.event('evt_' || u || '_paid', 'invoice.paid', now(),
	fixture.invoice('in_' || u, 'sub_' || u, customer => 'cus_' || u))) FROM (VALUES ('adele'), ('berta')) AS v (u);
INSERT INTO momento_billing.webhook_inbox (payload) SELECT pg_temp.live(u, u || '_2', 2, false) FROM (VALUES ('adele'), ('berta')) AS v (u);
INSERT INTO momento_billing.webhook_inbox (payload) SELECT fixture.event('evt_' || u || '_checkout', 'checkout.session.completed', now(),
	fixture.checkout('cs_' || u, 'sub_' || u || 'x', customer => 'cus_' || u || 'x', client_reference_id => u)) FROM (VALUES ('adele'), ('berta')) AS v (u);
SELECT momento_billing.grant_tier(u, 'ENTERPRISE', reason => 'for ' || u) FROM (VALUES ('adele'), ('berta')) AS v (u);
SELECT momento_billing.grant_quota(u, 'ai_chat', 5) FROM (VALUES ('adele'), ('berta')) AS v (u);
SELECT momento_billing.consume_quota(u, 'ai_chat', 3, 'key ' || u), momento_billing.reserve_quota(u, 'ai_chat', 2) FROM (VALUES ('adele'), ('berta')) AS v (u);
SELECT cmp_ok(pg_temp.mentions('adele'), '>', 10::bigint, 'she is in many tables');
SELECT pg_temp.mentions('berta') AS berta \gset

SELECT throws_ok($$SELECT momento_billing.forget_user(NULL)$$, '22023', NULL, 'no user');
SELECT throws_ok($$SELECT momento_billing.forget_user('')$$, '22023', NULL, 'an empty one');
SELECT is(momento_billing.forget_user('nobody'), 0::bigint, 'a user of whom nothing is known');

-- Event ids stay, by which a repetition is known.
SELECT is(momento_billing.forget_user('adele'), 13::bigint, 'so many rows are removed or blanked');
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE strpos(to_jsonb(webhook_inbox)::text, 'adele') > 0), 4::bigint, 'her events are there');
SELECT is(pg_temp.mentions('adele'), 4::bigint, 'and that is all');
SELECT is((SELECT string_agg(concat_ws(' ', event_id, status, reason, payload IS NULL), ', ' ORDER BY id) FROM momento_billing.webhook_inbox WHERE event_id ~ 'adele'),
	'evt_adele_1 processed forgotten t, evt_adele_paid ignored forgotten t, evt_adele_2 ignored forgotten t, evt_adele_checkout ignored forgotten t',
	'without their payload');
SELECT is(pg_temp.mentions('berta'), :berta::bigint, 'the other user has lost nothing');
SELECT is(fixture.app_row('adele'), 'PRO ACTIVE sub_adele', 'the app''s row is the app''s');
SELECT is(momento_billing.effective_tier('berta'), 'ENTERPRISE', 'the other user has his tier');
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'of what was pending only his is applied');
SELECT is(momento_billing.forget_user('adele'), 0::bigint, 'a second time there is nothing to be done');

-- What Stripe still sends.
SELECT is(fixture.sync('customer.subscription.updated', 'evt_named', now(), fixture.subscription('sub_new', 'active', customer => 'cus_new', user_id => 'adele')),
	'ignored forgotten', 'an event that names her');
SELECT is(fixture.sync('customer.subscription.deleted', 'evt_unnamed', now(), fixture.subscription('sub_adele', 'canceled', customer => 'cus_adele')),
	'ignored forgotten', 'an event of her subscription');
SELECT is(fixture.sync('checkout.session.completed', 'evt_claim', now(), fixture.checkout('cs_9', 'sub_9', customer => 'cus_9', client_reference_id => 'adele')),
	'ignored forgotten', 'a checkout in her name');
SELECT is(fixture.sync('invoice.payment_failed', 'evt_failed', now(), fixture.invoice('in_9', 'sub_other', customer => 'cus_adele')),
	'ignored forgotten', 'an invoice of her customer');
SELECT is(fixture.sync('invoice.paid', 'evt_paid_later', now(), fixture.invoice('in_10', 'sub_other', customer => 'cus_adele')), 'ignored forgotten',
	'an event that would be ignored anyway');
SELECT is(fixture.sync('customer.updated', 'evt_customer', now(), '{"id": "cus_adele", "object": "customer", "email": "adele@example.com"}'), 'ignored forgotten',
	'and one of a type that nobody reads');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (fixture.event('evt_charge', 'charge.succeeded', now(),
	'{"id": "ch_1", "object": "charge", "customer": {"id": "cus_adele", "email": "adele@example.com"}}'));
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'one is drained');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.live('adele', 'drained', 9)), (pg_temp.live('berta', 'drained_too', 9));
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'a drain');
SELECT is(fixture.inbox('evt_drained'), 'ignored forgotten', 'ignores it too');
SELECT is(fixture.inbox('evt_drained_too'), 'processed unchanged', 'and not the others');
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE reason = 'forgotten' AND (payload IS NOT NULL OR payload_raw IS NOT NULL)), 0::bigint,
	'none is kept with its payload');
SELECT is(pg_temp.mentions('cus_adele') + pg_temp.mentions('"adele"'), 0::bigint, 'nothing came back');
SELECT throws_ok($$SELECT momento_billing.replay_event('evt_adele_1')$$, '55000', NULL, 'a replay is refused');

-- Ids are texts: whatever is in them, they mean nobody else.
SELECT momento_billing.link_customer('cus_%', 'percent'), momento_billing.link_customer('cus:"\quoted"', 'quoted');
INSERT INTO momento_billing.webhook_inbox (payload) SELECT fixture.event('evt_' || n, 'customer.updated', now(), jsonb_build_object('id', id, 'object', 'customer'))
	FROM (VALUES (1, 'cus_%'), (2, 'cus:"\quoted"'), (3, 'cus_other')) AS v (n, id);
SELECT is(momento_billing.forget_user('percent') + momento_billing.forget_user('quoted'), 4::bigint, 'a link and an event each');
SELECT is((SELECT payload #>> '{data,object,id}' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_3'), 'cus_other', 'and not another''s');

-- A link by hand is a person's word.
SELECT is(momento_billing.link_customer('cus_again', 'adele'), 0::bigint, 'link_customer() still links her');
SELECT is((SELECT count(*) FROM momento_billing.stripe_customer WHERE user_id = 'adele' AND customer_id = 'cus_again'), 1::bigint, 'it does');

SELECT is((SELECT count(*) = 8 AND count(DISTINCT salt) = 1 AND bool_and(length(hash) = 32 AND length(salt) = 16) FROM momento_billing.forgotten), true,
	'what is kept: hashes of users, the customer and the subscription');
DELETE FROM momento_billing.forgotten;
SELECT is(fixture.sync('customer.subscription.updated', 'evt_back', now(), fixture.subscription('sub_adele', 'active', customer => 'cus_adele', user_id => 'adele')),
	'applied', 'without the hashes she is a user as any other');
SELECT * FROM finish();
ROLLBACK;
