-- Prices that become known, change their tier or are deleted: rows are mended
-- without a replay, and nobody is downgraded (R29, rule 6).
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.event(u text, id text, price text, created timestamptz DEFAULT '2026-01-01 00:00+00', status text DEFAULT 'active',
		known bool DEFAULT true, extra jsonb DEFAULT '{}', previous jsonb DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.updated', 'evt_' || u || '_' || id, created,
		fixture.subscription('sub_' || u, status, customer => 'cus_' || u, user_id => CASE WHEN known THEN u END, price => price, extra => extra), previous)
$$;
CREATE FUNCTION pg_temp.items(VARIADIC prices text[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('items', jsonb_build_object('data', jsonb_agg(jsonb_build_object('price', jsonb_build_object('id', price),
		'current_period_start', fixture.unix('2026-01-01 00:00+00'), 'current_period_end', fixture.unix('2099-01-01 00:00+00')) ORDER BY n)))
	FROM unnest(prices) WITH ORDINALITY AS p (price, n)
$$;
CREATE FUNCTION pg_temp.history(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', coalesce(old_tier, '-'), new_tier, event_id), ', ' ORDER BY id) FROM momento_billing.subscription_history WHERE user_id = u
$$;
CREATE FUNCTION pg_temp.sells(price text, tier text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO momento_billing.price (price_id, tier, billing_interval, active) VALUES (price, tier, 'month', false)
$$;
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'nothing to do');

-- A price that is entered too late.
SELECT is(pg_temp.event('late', '1', 'price_late'), 'applied unknown_price', 'R29: a new subscription with a price that nobody knows');
SELECT is(fixture.app_row('late'), 'BASIC ACTIVE sub_late', 'rule 6: gets the default tier');
SELECT is(pg_temp.event('better', '1', 'price_pro_month'), 'applied', 'a PRO');
SELECT is(pg_temp.event('better', '2', 'price_late', '2026-01-02 00:00+00'), 'applied unknown_price', 'R29: that changes to such a price');
SELECT is(fixture.app_row('better'), 'PRO ACTIVE sub_better', 'rule 6: stays what it was');
SELECT is(pg_temp.event('other', '1', 'price_of_another_product'), 'applied unknown_price', 'R29: one of another product');
SELECT is(pg_temp.event('old', '1', 'price_late'), 'applied unknown_price', 'the price is an older event''s');
SELECT is(pg_temp.event('old', '2', 'price_of_another_product', '2026-01-02 00:00+00'), 'applied unknown_price', 'and the newest one has another');
SELECT is(pg_temp.event('ended', '1', 'price_late', status => 'canceled'), 'applied unknown_price', 'a subscription that has ended');
SELECT is(pg_temp.event('waits', '1', 'price_late', known => false), 'waiting unknown_user', 'one whose user nobody knows');
SELECT is(pg_temp.event('dead', '1', 'price_late', known => false), 'waiting unknown_user', 'and one');
UPDATE momento_billing.webhook_inbox SET received_at = now() - interval '73 h', next_attempt_at = now() - interval '1 h' WHERE event_id = 'evt_dead_1';
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'for which it was');
SELECT is(fixture.inbox('evt_dead_1'), 'dead unknown_user', 'too long');
CREATE TEMP TABLE waiting AS SELECT * FROM momento_billing.webhook_inbox WHERE event_id = 'evt_waits_1';
SELECT pg_temp.sells('price_late', 'BUSINESS');
SELECT is(fixture.app_row('late'), 'BASIC ACTIVE sub_late', 'the price is entered: nothing has happened yet');
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'drain_inbox does something, though no event has come');
SELECT is(fixture.app_row('late'), 'BUSINESS ACTIVE sub_late', 'rule 6: the user has the tier');
SELECT is(fixture.app_row('better'), 'BUSINESS ACTIVE sub_better', 'rule 6: also who had another one');
SELECT is(fixture.app_row('other'), 'BASIC ACTIVE sub_other', 'R29: another product is none of ours');
SELECT is(fixture.app_row('old'), 'BUSINESS ACTIVE sub_old', 'rule 6: the last tier that is known, though of an older event');
SELECT is(fixture.app_row('ended'), 'BUSINESS CANCELED sub_ended', 'rule 6: a canceled one too');
SELECT is(momento_billing.effective_tier(u), 'BUSINESS', 'with access: ' || u) FROM unnest('{late,better,old,ended}'::text[]) AS u;
SELECT is(fixture.inbox('evt_late_1'), 'processed', 'the event''s reason is gone');
SELECT is(fixture.inbox('evt_other_1'), 'processed unknown_price', 'and stays where it is still true');
SELECT is(fixture.inbox('evt_waits_1'), 'waiting unknown_user', 'what waits for its user waits on');
SELECT is((SELECT concat_ws(' ', waiting_for, next_attempt_at, attempts) FROM momento_billing.webhook_inbox WHERE event_id = 'evt_waits_1'),
	(SELECT concat_ws(' ', waiting_for, next_attempt_at, attempts) FROM waiting), 'as long as before');
SELECT is(fixture.inbox('evt_dead_1'), 'dead unknown_user', 'what was dead is dead');
SELECT is(momento_billing.link_customer('cus_' || u, u), 1::bigint, u || ': its user comes') FROM unnest('{waits,dead}'::text[]) AS u;
SELECT is(fixture.app_row(u), 'BUSINESS ACTIVE sub_' || u, 'rule 6: and has the tier') FROM unnest('{waits,dead}'::text[]) AS u;
SELECT is(pg_temp.history('late'), '- BASIC evt_late_1, BASIC BUSINESS evt_late_1', 'the history has both, and the event');
SELECT is(pg_temp.history('better'), '- PRO evt_better_1, PRO BUSINESS evt_better_2', 'the history of who had another tier');
SELECT is(pg_temp.history('other'), '- BASIC evt_other_1', 'nothing is told of those who are not concerned');
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'then there is nothing to do');
UPDATE momento_billing.price SET billing_interval = 'year' WHERE price_id = 'price_late';
UPDATE momento_billing.plan_limit SET monthly_limit = 7 WHERE tier = 'BUSINESS' AND feature = 'ai_chat';
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'nor when something else of the catalogue changes');

-- One of several items.
SELECT is(pg_temp.event('items', '1', NULL, extra => pg_temp.items('price_addon', 'price_plan', 'price_addon2')), 'applied unknown_price', 'R3: several prices, all unknown');
SELECT is(pg_temp.event('more', '1', NULL, extra => pg_temp.items('price_pro_month', 'price_plan')), 'applied', 'R3: one known, one unknown');
SELECT is(fixture.app_row('items') || ', ' || fixture.app_row('more'), 'BASIC ACTIVE sub_items, PRO ACTIVE sub_more', 'the default tier, and the known one');
SELECT pg_temp.sells('price_plan', 'BUSINESS');
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'the price is entered');
SELECT is(fixture.app_row('items'), 'BUSINESS ACTIVE sub_items', 'R3: the one that is not the first becomes known');
SELECT is((SELECT "stripePriceId" FROM public."Subscription" WHERE "userId" = 'items'), 'price_plan', 'R3: and is the price shown');
SELECT is(fixture.app_row('more'), 'BUSINESS ACTIVE sub_more', 'R3: the highest tier counts, whenever its price becomes known');

-- The tier of a price is corrected.
SELECT is(pg_temp.event('wrong', '1', 'price_plan'), 'applied', 'a price');
SELECT is(fixture.app_row('wrong'), 'BUSINESS ACTIVE sub_wrong', 'whose tier was entered wrongly');
UPDATE momento_billing.price SET tier = 'PRO' WHERE price_id = 'price_plan';
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'is corrected');
SELECT is(fixture.app_row('wrong'), 'PRO ACTIVE sub_wrong', 'downwards as well: a person said so');
SELECT is(pg_temp.history('wrong'), '- BUSINESS evt_wrong_1, BUSINESS PRO evt_wrong_1', 'the history tells it');
SELECT is(fixture.inbox('evt_wrong_1'), 'processed', 'the event is processed');
UPDATE momento_billing.price SET tier = 'BUSINESS' WHERE price_id = 'price_plan';
SAVEPOINT corrected;
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'corrected again');
ROLLBACK TO corrected;
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'what was taken back is still to be done');
SELECT is(fixture.app_row('wrong'), 'BUSINESS ACTIVE sub_wrong', 'and is done');

-- A new event tells the tier by itself, and the repair does not undo it.
SELECT is(pg_temp.event('next', '1', 'price_next'), 'applied unknown_price', 'an unknown price');
SELECT pg_temp.sells('price_next', 'PRO');
SELECT is(pg_temp.event('next', '2', 'price_business_month', '2026-01-02 00:00+00'), 'applied', 'entered, and the next event has come');
SELECT cmp_ok(momento_billing.drain_inbox(), '>=', 0::bigint, 'the drain');
SELECT is(fixture.app_row('next'), 'BUSINESS ACTIVE sub_next', 'the newest event counts');

-- A price is deleted.
SELECT is(pg_temp.event('gone', '1', 'price_next'), 'applied', 'a price');
DELETE FROM momento_billing.price WHERE price_id = 'price_next';
SELECT cmp_ok(momento_billing.drain_inbox(), '>=', 0::bigint, 'that is deleted');
SELECT is(fixture.app_row('gone'), 'PRO ACTIVE sub_gone', 'R29: is no downgrade');
SELECT is(pg_temp.history('gone'), '- PRO evt_gone_1', 'R29: nothing has happened');
SELECT is(pg_temp.event('gone', '2', 'price_next', '2026-01-02 00:00+00'), 'unchanged unknown_price', 'R29: nor does the next event');
SELECT is(fixture.app_row('gone'), 'PRO ACTIVE sub_gone', 'downgrade anybody');
SELECT pg_temp.sells('price_next', 'BUSINESS');
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'entered anew, with another tier');
SELECT is(fixture.app_row('gone'), 'BUSINESS ACTIVE sub_gone', 'it counts');
-- Its payload is gone, too.
SELECT is(pg_temp.event('blank', '1', 'price_blank'), 'applied unknown_price', 'an unknown price');
UPDATE momento_billing.webhook_inbox SET payload = NULL WHERE event_id = 'evt_blank_1';
SELECT pg_temp.sells('price_blank', 'PRO');
SELECT cmp_ok(momento_billing.drain_inbox(), '>=', 0::bigint, 'of an event without a payload');
SELECT is(fixture.inbox('evt_blank_1'), 'processed unknown_price', 'cannot be read again');

-- A tier is renamed; the app's columns are text.
ALTER TABLE public."Subscription" ALTER tier DROP DEFAULT, ALTER tier TYPE text;
SELECT isnt(momento_billing.grant_tier('granted', 'BUSINESS'), NULL, 'somebody has a grant');
UPDATE momento_billing.tier SET tier = 'TEAM' WHERE tier = 'BUSINESS';
SELECT cmp_ok(momento_billing.drain_inbox(), '>', 0::bigint, 'a tier is renamed');
SELECT is(fixture.app_row('late'), 'TEAM ACTIVE sub_late', 'rows have the new name');
SELECT is(momento_billing.effective_tier('late'), 'TEAM', 'and give it');
SELECT is(momento_billing.effective_tier('granted'), 'TEAM', 'and so do grants');
SELECT is((SELECT string_agg(user_id || ' ' || tier, ', ') FROM momento_billing.stripe_subscription WHERE tier = 'BUSINESS' AND price_id IN (SELECT price_id FROM momento_billing.price)
	AND subscription_id <> 'sub_blank'), NULL, 'no subscription has the old one');
-- A checkout's promise of a price that is entered late.
SELECT is(fixture.sync('checkout.session.completed', 'evt_promise', '2026-01-01 00:00+00',
	fixture.checkout('cs_promise', 'sub_promise', 'cus_promise', extra => '{"metadata": {"userId": "u_promise", "priceId": "price_promised_late"}}')), 'applied', 'a promise of an unknown price only links');
SELECT is(fixture.app_row('u_promise'), NULL, 'rule 3: without a row');
INSERT INTO momento_billing.price VALUES ('price_promised_late', 'TEAM', 'month', false);
SELECT momento_billing.drain_inbox();
SELECT is(fixture.app_row('u_promise'), 'TEAM ACTIVE sub_promise', 'rule 6: the price is entered, and the promise counts');

-- Nothing is left to be done, and nothing is written, when prices are only taken away.
DELETE FROM momento_billing.price WHERE price_id = 'price_promised_late';
SELECT momento_billing.drain_inbox(), momento_billing.drain_inbox();
CREATE TEMP TABLE state_before ON COMMIT DROP AS SELECT ctid AS place FROM momento_billing.drain_state;
SELECT momento_billing.drain_inbox();
SELECT is((SELECT ctid FROM momento_billing.drain_state), (SELECT place FROM state_before), 'R29: a price that was deleted is noted once');

SELECT * FROM finish();
ROLLBACK;
