-- Tiers given by hand, what is kept of the app's own rows, and explain_tier().
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.day(n numeric) RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT date_trunc('second', now()) + n * interval '1 day'$$;
CREATE FUNCTION pg_temp.event(u text, id text, status text DEFAULT 'active', price text DEFAULT 'price_pro_month', starts numeric DEFAULT -10,
		ends numeric DEFAULT 20, extra jsonb DEFAULT '{}', created numeric DEFAULT -5, previous jsonb DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.updated', 'evt_' || u || '_' || id, pg_temp.day(created),
		fixture.subscription('sub_' || u || '_' || id, status, customer => 'cus_' || u, user_id => u, price => price,
			starts => pg_temp.day(starts), ends => pg_temp.day(ends), extra => extra), previous)
$$;
CREATE FUNCTION pg_temp.app_writes(u text, tier text, status text, ends numeric DEFAULT NULL, customer text DEFAULT NULL, subscription text DEFAULT NULL)
	RETURNS void LANGUAGE sql AS $$
	INSERT INTO public."Subscription" (id, "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "currentPeriodStart", "currentPeriodEnd", "updatedAt")
		VALUES ('app_' || u, u, tier::public."SubscriptionTier", status::public."SubscriptionStatus", customer, subscription,
			pg_temp.day(ends - 30) AT TIME ZONE 'UTC', pg_temp.day(ends) AT TIME ZONE 'UTC', now())
$$;
CREATE FUNCTION pg_temp.grants(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', tier, reason, coalesce('until day ' || round(extract(epoch FROM valid_until - pg_temp.day(0)) / 86400), 'for ever')), ', ' ORDER BY id)
	FROM momento_billing.tier_grant WHERE user_id = u
$$;
CREATE FUNCTION pg_temp.tier(u text, n numeric) RETURNS text LANGUAGE sql AS $$SELECT momento_billing.effective_tier(u, pg_temp.day(n))$$;
CREATE FUNCTION pg_temp.explained(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', source, tier, status, reason, CASE WHEN counts THEN 'counts' END, CASE WHEN chosen THEN 'chosen' END), ', ' ORDER BY n)
	FROM momento_billing.explain_tier(u) WITH ORDINALITY AS e (source, ref, tier, status, until, counts, chosen, reason, n)
$$;

-- What grant_tier() refuses.
SELECT throws_ok($$SELECT momento_billing.grant_tier('u', 'GOLD')$$, 'MB002', 'tier "GOLD" is not configured', 'a tier that is not there');
SELECT throws_ok($$SELECT momento_billing.grant_tier('u', 'pro')$$, 'MB002', NULL, 'nor in another spelling');
SELECT throws_ok($$SELECT momento_billing.grant_tier('u', NULL)$$, 'MB002', NULL, 'no tier');
SELECT throws_ok($$SELECT momento_billing.grant_tier(NULL, 'PRO')$$, '22023', NULL, 'no user');
SELECT throws_ok($$SELECT momento_billing.grant_tier('', 'PRO')$$, '22023', NULL, 'an empty user');
SELECT throws_ok($$SELECT momento_billing.grant_tier('u', 'PRO', now())$$, '22023', 'valid_until must be in the future', 'an end that is past');
SELECT throws_ok($$SELECT momento_billing.grant_tier('u', 'PRO', '-infinity')$$, '22023', NULL, 'long past');
SELECT throws_ok($$SELECT momento_billing.revoke_tier_grant(NULL)$$, '22023', NULL, 'revoking nothing');
SELECT throws_ok($$SELECT momento_billing.revoke_tier_grant(424242)$$, '22023', 'tier grant 424242 does not exist', 'revoking a grant that is not there');
SELECT throws_ok($$SELECT * FROM momento_billing.explain_tier(NULL)$$, '22023', NULL, 'explaining nobody');
SELECT throws_ok($$SELECT * FROM momento_billing.explain_tier('')$$, '22023', NULL, 'nor an empty one');
SELECT is((SELECT count(*) FROM momento_billing.tier_grant), 0::bigint, 'a refusal writes nothing');

-- A user without a row.
SELECT is(pg_temp.explained('ua'), 'default BASIC default counts chosen', 'explain_tier of a user of whom nothing is known');
SELECT momento_billing.grant_tier('ua', 'ENTERPRISE', reason => 'contract 7') AS contract \gset
SELECT is(momento_billing.effective_tier('ua'), 'ENTERPRISE', 'a grant to a user without a row');
SELECT is(momento_billing.billing_status('ua') ->> 'effectiveTier', 'ENTERPRISE', 'billing_status knows it');
SELECT is(fixture.app_row('ua'), NULL, 'the app''s table is left alone');
SELECT is((SELECT concat_ws(' ', user_id, tier, reason, granted_by = session_user, valid_until IS NULL, valid_from <= clock_timestamp())
	FROM momento_billing.tier_grant WHERE id = :contract), 'ua ENTERPRISE contract 7 t t t', 'the record says who, why, and for how long');
SELECT is((SELECT concat_ws(' ', source, ref = :'contract', tier, valid_until) FROM momento_billing.other_access WHERE user_id = 'ua'), 'tier_grant t ENTERPRISE',
	'reads see it in other_access');
SELECT is((SELECT concat_ws(' ', effective_tier, until, source) FROM momento_billing.entitlement WHERE user_id = 'ua'), 'ENTERPRISE other', 'and so does the view');
SELECT is((SELECT concat_ws(' ', source, ref = :'contract', tier, until) FROM momento_billing.explain_tier('ua') WHERE chosen), 'tier_grant t ENTERPRISE', 'explain_tier names the grant');
SELECT ok(momento_billing.revoke_tier_grant(:contract), 'revoke_tier_grant');
SELECT is(momento_billing.effective_tier('ua'), 'BASIC', 'ends it at once');
SELECT ok(NOT momento_billing.revoke_tier_grant(:contract), 'a second time there is nothing to end');
SELECT is((SELECT count(*) FROM momento_billing.other_access WHERE user_id = 'ua'), 0::bigint, 'reads have nothing to read any more');
SELECT is((SELECT valid_until <= clock_timestamp() FROM momento_billing.tier_grant WHERE id = :contract), true, 'the record is kept');
SELECT is(pg_temp.explained('ua'), 'tier_grant ENTERPRISE ended, default BASIC default counts chosen', 'and explained');

-- Beside a subscription.
SELECT is(pg_temp.event('ub', '1'), 'applied', 'PRO');
SELECT momento_billing.grant_tier('ub', 'BUSINESS', pg_temp.day(3), 'a gesture') AS gesture \gset
SELECT is(momento_billing.effective_tier('ub'), 'BUSINESS', 'the higher one counts');
SELECT is(pg_temp.tier('ub', 2.9), 'BUSINESS', 'until its end');
SELECT is(pg_temp.tier('ub', 3), 'PRO', 'not at it');
SELECT is(pg_temp.tier('ub', -1), 'PRO', 'nor before it began');
SELECT is(fixture.app_row('ub'), 'PRO ACTIVE sub_ub_1', 'the row shows the subscription');
SELECT is(pg_temp.event('ub', '2', price => 'price_pro_year'), 'applied', 'another subscription');
SELECT is(momento_billing.effective_tier('ub'), 'BUSINESS', 'a derivation leaves grants alone');
SELECT is((SELECT string_agg(source || ' ' || tier, ', ' ORDER BY source) FROM momento_billing.other_access WHERE user_id = 'ub'), 'subscription PRO, tier_grant BUSINESS', 'beside what it derives');
SELECT momento_billing.grant_tier('ub', 'PRO') AS lower \gset
SELECT momento_billing.grant_tier('ub', 'ENTERPRISE', 'infinity') AS higher \gset
SELECT is(momento_billing.effective_tier('ub'), 'ENTERPRISE', 'the highest of several grants counts');
SELECT is((SELECT valid_until FROM momento_billing.tier_grant WHERE id = :higher), NULL, 'infinity is without end');
SELECT ok(momento_billing.revoke_tier_grant(:higher), 'revoked');
SELECT is(momento_billing.effective_tier('ub'), 'BUSINESS', 'the next one counts');
SELECT is(pg_temp.tier('ub', 4), 'PRO', 'and then the next');
-- One that begins later, as a dump may hold it.
INSERT INTO momento_billing.tier_grant (user_id, tier, valid_from, granted_by) VALUES ('ub', 'ENTERPRISE', pg_temp.day(10), 'x') RETURNING id AS later \gset
INSERT INTO momento_billing.other_access (user_id, source, ref, tier, valid_from) VALUES ('ub', 'tier_grant', :later, 'ENTERPRISE', pg_temp.day(10));
SELECT is(pg_temp.tier('ub', 9.9), 'PRO', 'a grant to come');
SELECT is(pg_temp.tier('ub', 10), 'ENTERPRISE', 'counts when it begins');
SELECT is((SELECT string_agg(concat_ws(' ', source, tier, reason, counts, chosen), ', ' ORDER BY source, ref::text COLLATE "C") FROM momento_billing.explain_tier('ub') WHERE source = 'tier_grant'),
	'tier_grant BUSINESS in_force t t, tier_grant PRO in_force t f, tier_grant ENTERPRISE ended f f, tier_grant ENTERPRISE not_begun f f', 'explain_tier: in_force, ended, not_begun');
UPDATE momento_billing.tier_grant SET valid_until = now() - interval '1 s' WHERE id = :gesture;
UPDATE momento_billing.other_access SET valid_until = now() - interval '1 s' WHERE ref = :'gesture';
SELECT is(momento_billing.effective_tier('ub'), 'PRO', 'a grant that has expired counts no more');
SELECT ok(NOT momento_billing.revoke_tier_grant(:gesture), 'and there is nothing to revoke');

-- Rule 8: what the app's own row gave is kept when a subscription takes it over.
SELECT pg_temp.app_writes('ent', 'ENTERPRISE', 'ACTIVE');
SELECT is(pg_temp.explained('ent'), 'app_row ENTERPRISE ACTIVE live counts chosen, default BASIC default counts', 'a row of the app''s own is explained');
SELECT is(pg_temp.event('ent', '1'), 'applied', 'then the user buys PRO');
SELECT is(fixture.app_row('ent'), 'PRO ACTIVE sub_ent_1', 'rule 8: the row shows the subscription');
SELECT is(pg_temp.grants('ent'), 'ENTERPRISE app row for ever', 'rule 8: and what the row was is a grant');
SELECT is(momento_billing.effective_tier('ent'), 'ENTERPRISE', 'rule 8: so nothing is lost');
SELECT is((SELECT granted_by FROM momento_billing.tier_grant WHERE user_id = 'ent'), 'momento_billing', 'rule 8: given by nobody');
SELECT is(pg_temp.event('ent', '2', price => 'price_business_month'), 'applied', 'another subscription');
UPDATE public."Subscription" SET tier = 'ENTERPRISE', status = 'ACTIVE', "stripeSubscriptionId" = NULL WHERE "userId" = 'ent';
SELECT is(pg_temp.event('ent', '3'), 'applied', 'the app writes its own row once more, and it is taken over again');
SELECT is(pg_temp.grants('ent'), 'ENTERPRISE app row for ever', 'rule 8: the grant is there already');
SELECT pg_temp.app_writes('can', 'BUSINESS', 'CANCELED', 7);
SELECT pg_temp.app_writes('due', 'BUSINESS', 'PAST_DUE', 8);
SELECT pg_temp.app_writes('tri', 'BUSINESS', 'TRIALING', 9);
SELECT is(pg_temp.event(u, '1'), 'applied', 'a subscription of ' || u) FROM unnest('{can,due,tri}'::text[]) AS u;
SELECT is(pg_temp.grants('can'), 'BUSINESS app row until day 7', 'rule 8: a canceled row gives until its period''s end');
SELECT is(pg_temp.grants('due'), 'BUSINESS app row until day 8', 'rule 8: one that is past due as well');
SELECT is(pg_temp.grants('tri'), 'BUSINESS app row for ever', 'rule 8: a trial as a live one');
SELECT is(pg_temp.tier('can', 6.9) || ' ' || pg_temp.tier('can', 7), 'BUSINESS PRO', 'rule 8: and then the subscription counts');
SELECT pg_temp.app_writes('over', 'BUSINESS', 'CANCELED', -1);
SELECT pg_temp.app_writes('endless', 'BUSINESS', 'CANCELED');
SELECT pg_temp.app_writes('inactive', 'BUSINESS', 'INACTIVE', 9);
SELECT pg_temp.app_writes('basic', 'BASIC', 'ACTIVE');
SELECT is(pg_temp.event(u, '1'), 'applied', 'a subscription of ' || u) FROM unnest('{over,endless,inactive,basic}'::text[]) AS u;
SELECT is(pg_temp.grants(u), NULL, 'rule 8: a row that gave nothing is no grant: ' || u) FROM unnest('{over,endless,inactive,basic}'::text[]) AS u;
SELECT pg_temp.app_writes('batch' || n, 'ENTERPRISE', 'ACTIVE') FROM generate_series(1, 3) AS n;
INSERT INTO momento_billing.webhook_inbox (payload)
	SELECT fixture.event('evt_batch' || n, 'customer.subscription.created', pg_temp.day(-1), fixture.subscription('sub_batch' || n, 'active', customer => 'cus_batch' || n, user_id => 'batch' || n))
	FROM generate_series(1, 3) AS n;
SELECT is(momento_billing.drain_inbox(), 3::bigint, 'in a batch');
SELECT is(pg_temp.grants('batch' || n), 'ENTERPRISE app row for ever', 'rule 8: as one by one') FROM generate_series(1, 3) AS n;

-- Every reason that explain_tier() can give.
CREATE FUNCTION pg_temp.reason(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', source, reason, counts), ', ' ORDER BY source, ref) FROM momento_billing.explain_tier(u) WHERE source IN ('subscription', 'app_row')
$$;
SELECT is(pg_temp.event('r_' || s, '1', s, previous => p), 'applied' || CASE s WHEN 'frozen' THEN ' unknown_status' ELSE '' END, 'a subscription that is ' || s)
	FROM (VALUES ('active', NULL::jsonb), ('trialing', NULL), ('past_due', NULL), ('canceled', NULL), ('paused', NULL), ('incomplete', NULL), ('incomplete_expired', NULL), ('frozen', NULL)) AS v (s, p);
SELECT is(pg_temp.event('r_' || s || '_over', '1', s, starts => -40, ends => -10), 'applied', 'and that is over') FROM unnest('{past_due,canceled}'::text[]) AS s;
SELECT is(pg_temp.event('r_' || s || '_endless', '1', s, extra => '{"items": {"data": [{"price": "price_pro_month"}]}}'), 'applied', 'and whose period nobody knows') FROM unnest('{past_due,canceled}'::text[]) AS s;
SELECT is(pg_temp.event('r_unpaid', '1', 'unpaid', starts => 1), 'applied', 'unpaid, paid until tomorrow');
SELECT is(fixture.sync('checkout.session.completed', 'evt_r_link', pg_temp.day(0), fixture.checkout('cs_r', 'sub_r_link', customer => 'cus_r_link', user_id => 'r_link')), 'applied', 'only linked');
SELECT is(fixture.sync('checkout.session.completed', 'evt_r_claim', pg_temp.day(0), fixture.checkout('cs_r', 'sub_r_claim', customer => 'cus_r_claim', client_reference_id => 'r_active',
	extra => '{"metadata": {"tier": "BUSINESS"}}')), 'waiting unknown_user', 'R27: a claim that does not count');
SELECT pg_temp.app_writes('r_row_' || lower(s), 'PRO', s, 5) FROM unnest('{ACTIVE,TRIALING,PAST_DUE,CANCELED,INACTIVE}'::text[]) AS s;
SELECT is(pg_temp.reason(u), reason, 'explain_tier: ' || u)
	FROM (VALUES ('r_active', 'subscription live t, subscription claim_not_counted f'), ('r_trialing', 'subscription live t'),
		('r_past_due', 'subscription past_due_in_period t'), ('r_canceled', 'subscription canceled_in_period t'), ('r_unpaid', 'subscription canceled_in_period t'),
		('r_past_due_over', 'subscription period_over f'), ('r_canceled_over', 'subscription period_over f'),
		('r_past_due_endless', 'subscription no_period f'), ('r_canceled_endless', 'subscription no_period f'),
		('r_paused', 'subscription paused f'), ('r_incomplete', 'subscription never_paid f'), ('r_incomplete_expired', 'subscription never_paid f'),
		('r_frozen', 'subscription unknown_status f'), ('r_link', 'subscription no_state f'),
		('r_row_active', 'app_row live t'), ('r_row_trialing', 'app_row live t'), ('r_row_past_due', 'app_row past_due_in_period t'),
		('r_row_canceled', 'app_row canceled_in_period t'), ('r_row_inactive', 'app_row inactive f')) AS v (u, reason);
SELECT is((SELECT until FROM momento_billing.explain_tier('r_canceled') WHERE chosen), pg_temp.day(20), 'explain_tier: until when');
SELECT is((SELECT count(until) FROM momento_billing.explain_tier('r_active')), 0::bigint, 'explain_tier: a live one has no end, nor has the default');
SELECT is(pg_temp.event('r_two', '1', 'canceled', 'price_business_month'), 'applied', 'a canceled BUSINESS');
SELECT is(pg_temp.event('r_two', '2'), 'applied', 'and a PRO');
SELECT is(pg_temp.explained('r_two'), 'subscription BUSINESS canceled canceled_in_period counts chosen, subscription PRO active live counts, default BASIC default counts',
	'explain_tier: the tier is not the row''s');
UPDATE public."Subscription" SET tier = 'ENTERPRISE' WHERE "userId" = 'r_trialing';
SELECT is(pg_temp.explained('r_trialing'), 'subscription ENTERPRISE trialing live counts chosen, default BASIC default counts', 'explain_tier: what the row says is what is read');
UPDATE public."Subscription" SET "stripeSubscriptionId" = 'sub_of_the_app' WHERE "userId" = 'r_two';
SELECT is((SELECT ref FROM momento_billing.explain_tier('r_two') WHERE source = 'app_row'), 'sub_of_the_app', 'explain_tier: a subscription that only the app knows');
-- It agrees with effective_tier(), for everybody.
CREATE TEMP VIEW everybody AS
	SELECT user_id FROM momento_billing.stripe_subscription WHERE user_id IS NOT NULL UNION SELECT user_id FROM momento_billing.tier_grant
	UNION SELECT user_id FROM momento_billing.other_access UNION SELECT "userId" FROM public."Subscription" UNION SELECT 'nobody';
SELECT cmp_ok((SELECT count(*) FROM everybody), '>', 30::bigint, 'a good number of users');
SELECT is((SELECT string_agg(user_id, ', ') FROM everybody AS u
	WHERE momento_billing.effective_tier(user_id) IS DISTINCT FROM (SELECT string_agg(tier, '+') FROM momento_billing.explain_tier(u.user_id) WHERE chosen)), NULL,
	'explain_tier: exactly one is chosen, and has the effective tier');
SELECT is((SELECT string_agg(user_id, ', ') FROM everybody AS u WHERE EXISTS (SELECT FROM momento_billing.explain_tier(u.user_id) WHERE chosen AND NOT counts)), NULL,
	'explain_tier: the chosen one counts');
SELECT is((SELECT string_agg(user_id, ', ') FROM everybody AS u WHERE (SELECT count(*) FROM momento_billing.explain_tier(u.user_id) WHERE source = 'default') <> 1), NULL,
	'explain_tier: the default is always there');

-- adopt_subscriptions(): a live app's rows, of all sorts.
DELETE FROM public."Subscription";
SELECT pg_temp.app_writes('ad_hand', 'ENTERPRISE', 'ACTIVE');
SELECT pg_temp.app_writes('ad_hand_canceled', 'BUSINESS', 'CANCELED', 5);
SELECT pg_temp.app_writes('ad_hand_over', 'BUSINESS', 'CANCELED', -5);
SELECT pg_temp.app_writes('ad_nothing', 'BASIC', 'INACTIVE');
SELECT pg_temp.app_writes('ad_customer', 'BASIC', 'INACTIVE', customer => 'cus_ad_customer');
SELECT pg_temp.app_writes('ad_customer_hand', 'ENTERPRISE', 'ACTIVE', customer => 'cus_ad_customer_hand');
SELECT pg_temp.app_writes('ad_' || lower(s), 'BUSINESS', s, 5, 'cus_ad_' || lower(s), 'sub_ad_' || lower(s)) FROM unnest('{ACTIVE,TRIALING,PAST_DUE,CANCELED,INACTIVE}'::text[]) AS s;
SELECT pg_temp.app_writes('ad_startless', 'BUSINESS', 'CANCELED', 5, 'cus_ad_startless', 'sub_ad_startless');
UPDATE public."Subscription" SET "currentPeriodStart" = NULL WHERE "userId" = 'ad_startless';
CREATE TEMP TABLE app_rows AS SELECT * FROM public."Subscription";
CREATE TEMP TABLE tiers AS SELECT "userId", momento_billing.effective_tier("userId"), momento_billing.effective_tier("userId", pg_temp.day(6)) AS later FROM public."Subscription";
SELECT is(momento_billing.adopt_subscriptions(), 10::bigint, 'adopt_subscriptions: all rows but those that say nothing');
SELECT is((SELECT string_agg(concat_ws(' ', customer_id, user_id, link_source), ', ' ORDER BY customer_id) FROM momento_billing.stripe_customer WHERE user_id ~ '^ad_'),
	'cus_ad_active ad_active manual, cus_ad_canceled ad_canceled manual, cus_ad_customer ad_customer manual, cus_ad_customer_hand ad_customer_hand manual, '
	'cus_ad_inactive ad_inactive manual, cus_ad_past_due ad_past_due manual, cus_ad_startless ad_startless manual, cus_ad_trialing ad_trialing manual', 'adopt_subscriptions: customers are linked');
SELECT is((SELECT string_agg(concat_ws(' ', subscription_id, status, tier), ', ' ORDER BY subscription_id) FROM momento_billing.stripe_subscription WHERE user_id ~ '^ad_'),
	'sub_ad_active active BUSINESS, sub_ad_canceled canceled BUSINESS, sub_ad_past_due past_due BUSINESS, sub_ad_startless canceled BUSINESS, sub_ad_trialing trialing BUSINESS', 'adopt_subscriptions: states are taken over');
SELECT is((SELECT string_agg(user_id || ': ' || pg_temp.grants(user_id), ', ' ORDER BY user_id COLLATE "C") FROM momento_billing.tier_grant WHERE user_id ~ '^ad_'),
	'ad_customer_hand: ENTERPRISE app row for ever, ad_hand: ENTERPRISE app row for ever, ad_hand_canceled: BUSINESS app row until day 5', 'adopt_subscriptions: the rest are grants (rule 8)');
SELECT results_eq('SELECT * FROM public."Subscription" ORDER BY id', 'SELECT * FROM app_rows ORDER BY id', 'adopt_subscriptions: no row is changed');
SELECT results_eq($$SELECT "userId", momento_billing.effective_tier("userId"), momento_billing.effective_tier("userId", pg_temp.day(6)) FROM public."Subscription" ORDER BY 1$$,
	'SELECT * FROM tiers ORDER BY 1', 'adopt_subscriptions: nor what it gives, now and later');
SELECT is((SELECT count(*) FROM momento_billing.subscription_history WHERE user_id ~ '^ad_'), 0::bigint, 'adopt_subscriptions: there is no change to tell of');
SELECT is(momento_billing.adopt_subscriptions(), 0::bigint, 'adopt_subscriptions: a second time there is nothing left');
SELECT pg_temp.app_writes('ad_later', 'PRO', 'ACTIVE', 5, 'cus_ad_later', 'sub_ad_later');
SELECT is(momento_billing.adopt_subscriptions(), 1::bigint, 'adopt_subscriptions: what has come since');
SELECT is(fixture.sync('customer.subscription.deleted', 'evt_ad', pg_temp.day(-100), fixture.subscription('sub_ad_active', 'canceled', customer => 'cus_ad_active', ends => pg_temp.day(-70))), 'applied',
	'any event of an adopted subscription');
SELECT is(momento_billing.effective_tier('ad_active'), 'BASIC', 'says more than its row did');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_ad2', pg_temp.day(-1), fixture.subscription('sub_ad_customer', 'active', customer => 'cus_ad_customer')), 'applied', 'an event of a customer that was adopted');
SELECT is(fixture.app_row('ad_customer'), 'PRO ACTIVE sub_ad_customer', 'needs no metadata');
-- Waiting events are done by it.
SELECT is(fixture.sync('customer.subscription.updated', 'evt_ad3', pg_temp.day(-1), fixture.subscription('sub_ad_w', 'active', customer => 'cus_ad_w')), 'waiting unknown_user', 'an event that waits');
SELECT pg_temp.app_writes('ad_w', 'BASIC', 'INACTIVE', customer => 'cus_ad_w');
SELECT is(momento_billing.adopt_subscriptions(), 1::bigint, 'the app tells whose it is');
SELECT is(fixture.inbox('evt_ad3'), 'processed', 'it waits no more');
SELECT is(fixture.app_row('ad_w'), 'PRO ACTIVE sub_ad_w', 'and the row is there');

-- Other types of the user's column, and other names.
CREATE TABLE public.app_numbers (id text PRIMARY KEY, user_id int UNIQUE, tier text NOT NULL, status text NOT NULL, stripe_customer_id text, stripe_subscription_id text UNIQUE,
	stripe_price_id text, current_period_start timestamptz, current_period_end timestamptz, cancel_at_period_end bool NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL);
INSERT INTO public.app_numbers (id, user_id, tier, status, stripe_customer_id, stripe_subscription_id, updated_at) VALUES
	('a', 41, 'ENTERPRISE', 'ACTIVE', NULL, NULL, now()), ('b', 42, 'PRO', 'ACTIVE', 'cus_n42', 'sub_n42', now());
SET LOCAL momento_billing.subscription_table = 'public.app_numbers';
SELECT is(momento_billing.adopt_subscriptions(), 2::bigint, 'adopt_subscriptions: a user column of type integer, snake_case');
SELECT is((SELECT user_id::text FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_n42'), '42', 'the user as text');
SELECT is(momento_billing.effective_tier('041'), 'ENTERPRISE', '041 and 41 are one user');
SELECT isnt(momento_billing.grant_tier('0042', 'BUSINESS'), NULL, 'for a grant too');
SELECT is(pg_temp.grants('42'), 'BUSINESS for ever', 'which is kept in one spelling');
SELECT is((SELECT string_agg(source || ' ' || tier, ', ' ORDER BY source) FROM momento_billing.explain_tier(' 42')), 'default BASIC, subscription PRO, tier_grant BUSINESS', 'and explained in any');
SELECT throws_ok($$SELECT momento_billing.grant_tier('forty', 'PRO')$$, '22023', NULL, 'what is no user id of the app is refused: grant_tier');
SELECT throws_ok($$SELECT momento_billing.link_customer('cus_n', 'forty')$$, '22023', NULL, 'link_customer');
SELECT throws_ok($$SELECT * FROM momento_billing.explain_tier('forty')$$, '22023', NULL, 'explain_tier');
SELECT is(momento_billing.link_customer('cus_n42', '+43'), 1::bigint, 'link_customer takes any spelling');
SELECT is((SELECT string_agg(concat_ws(' ', user_id, tier, status, stripe_subscription_id), ', ' ORDER BY user_id) FROM public.app_numbers WHERE user_id > 41), '42 BASIC INACTIVE, 43 PRO ACTIVE sub_n42', 'and moves the row');
CREATE TABLE public.app_uuids (LIKE public."Subscription" INCLUDING ALL);
ALTER TABLE public.app_uuids ALTER "userId" TYPE uuid USING NULL;
INSERT INTO public.app_uuids (id, "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "updatedAt") VALUES
	('a', '0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a10', 'ENTERPRISE', 'ACTIVE', NULL, NULL, now()), ('b', '0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a11', 'PRO', 'ACTIVE', 'cus_uu', 'sub_uu', now());
SET LOCAL momento_billing.subscription_table = 'public.app_uuids';
SELECT is(momento_billing.adopt_subscriptions(), 2::bigint, 'adopt_subscriptions: a user column of type uuid');
SELECT is(momento_billing.effective_tier(upper('0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a10')), 'ENTERPRISE', 'a grant is found in any spelling');
SELECT is((SELECT tier FROM momento_billing.explain_tier(upper('0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a11')) WHERE chosen), 'PRO', 'and so is a subscription');
-- Reads pay nothing for grants while nobody has one.
SELECT is((SELECT count(*) FROM momento_billing.grant_tier('0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a12', 'PRO', clock_timestamp() + interval '1 h')), 1::bigint, 'a grant');
UPDATE momento_billing.other_access SET valid_until = clock_timestamp() - interval '1 s' WHERE user_id = '0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a12';
SELECT momento_billing.drain_inbox();
SELECT is((SELECT count(*) FROM momento_billing.other_access WHERE user_id = '0b0e7a52-6f3c-4d6e-9d8e-3c5a3c1b2a12'), 0::bigint, 'that is over is taken out');

SELECT * FROM finish();
ROLLBACK;
