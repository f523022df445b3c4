-- Whose a Stripe customer is: a person's word, claims, and rows of the app's.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.bought(id text, subscription text, customer text, user_id text DEFAULT NULL, at timestamptz DEFAULT '2026-01-01 00:00+00',
	price text DEFAULT 'price_pro_month', status text DEFAULT 'active') RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.updated', id, at,
		fixture.subscription(subscription, status, customer => customer, user_id => user_id, price => price))
$$;
CREATE FUNCTION pg_temp.checked_out(id text, subscription text, customer text, user_id text DEFAULT NULL, reference text DEFAULT NULL,
	at timestamptz DEFAULT '2026-01-01 00:00+00') RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('checkout.session.completed', id, at,
		fixture.checkout('cs_' || id, subscription, customer => customer, user_id => user_id, client_reference_id => reference))
$$;
CREATE FUNCTION pg_temp.customer_deleted(id text, customer text, at timestamptz DEFAULT '2026-02-01 00:00+00') RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.deleted', id, at, jsonb_build_object('id', customer, 'object', 'customer', 'metadata', '{"userId": "nobody"}'::jsonb))
$$;
CREATE FUNCTION pg_temp.link(customer text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', user_id, link_source, CASE WHEN deleted THEN 'deleted' END) FROM momento_billing.stripe_customer WHERE customer_id = customer
$$;
CREATE FUNCTION pg_temp.others(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(ref || ' ' || tier, ', ' ORDER BY ref) FROM momento_billing.other_access WHERE user_id = u
$$;
-- The app writes a row itself.
CREATE FUNCTION pg_temp.app_writes(u text, tier text, status text, customer text DEFAULT NULL, subscription text DEFAULT NULL, price text DEFAULT NULL,
	ends timestamptz DEFAULT '2099-01-01 00:00+00') RETURNS void LANGUAGE sql AS $$
	INSERT INTO public."Subscription" (id, "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "stripePriceId",
			"currentPeriodStart", "currentPeriodEnd", "updatedAt")
		VALUES ('app_' || u, u, tier::public."SubscriptionTier", status::public."SubscriptionStatus", customer, subscription, price,
			'2026-01-01', ends AT TIME ZONE 'UTC', now())
$$;
-- All orders of n things.
CREATE FUNCTION pg_temp.orders(n int) RETURNS SETOF int[] LANGUAGE sql AS $$
	WITH RECURSIVE o AS (
		SELECT '{}'::int[] AS things
		UNION ALL
		SELECT o.things || i FROM o, generate_series(1, n) AS i WHERE NOT i = ANY (o.things)
	)
	SELECT things FROM o WHERE cardinality(things) = n ORDER BY things
$$;
CREATE FUNCTION pg_temp.name(things int[]) RETURNS text LANGUAGE sql AS $$SELECT array_to_string(things, '')$$;

-- link_customer(): what it refuses.
SELECT throws_ok('SELECT momento_billing.link_customer(NULL, ''u'')', '22023', NULL, 'link_customer: no customer');
SELECT throws_ok('SELECT momento_billing.link_customer('''', ''u'')', '22023', NULL, 'link_customer: an empty customer');
SELECT throws_ok('SELECT momento_billing.link_customer(repeat(''x'', 256), ''u'')', '22023', NULL, 'R11: link_customer: ids have up to 255 characters');
SELECT throws_ok('SELECT momento_billing.link_customer(''cus_1'', NULL)', '22023', NULL, 'link_customer: no user');
SELECT throws_ok('SELECT momento_billing.link_customer(''cus_1'', '''')', '22023', NULL, 'link_customer: an empty user');
SELECT is((SELECT count(*) FROM momento_billing.stripe_customer), 0::bigint, 'link_customer: a refusal writes nothing');

-- It ends the waiting.
SELECT is(pg_temp.bought('evt_a1', 'sub_a1', 'cus_a'), 'waiting unknown_user', 'nobody is known');
SELECT is(pg_temp.bought('evt_a2', 'sub_a2', 'cus_a', price => 'price_business_month'), 'waiting unknown_user', 'nor of a second one');
SELECT is(momento_billing.link_customer('cus_a', 'ua'), 2::bigint, 'link_customer tells how many subscriptions the customer has');
SELECT is(pg_temp.link('cus_a'), 'ua manual', 'the link is manual');
SELECT is(fixture.app_row('ua'), 'BUSINESS ACTIVE sub_a2', 'link_customer makes the row');
SELECT is(pg_temp.others('ua'), 'sub_a1 PRO', 'from all of the subscriptions');
SELECT is(fixture.inbox('evt_a' || n), 'processed', 'rule 5: evt_a' || n || ', which waited, is processed') FROM generate_series(1, 2) AS n;
SELECT is((SELECT count(*) FROM momento_billing.webhook_inbox WHERE waiting_for IS NOT NULL OR next_attempt_at IS NOT NULL), 0::bigint, 'and not due again');
CREATE TEMP TABLE before AS SELECT "updatedAt" FROM public."Subscription" WHERE "userId" = 'ua';
SELECT is(momento_billing.link_customer('cus_a', 'ua'), 2::bigint, 'the same again');
SELECT is((SELECT count(*) FROM momento_billing.subscription_history WHERE user_id = 'ua'), 1::bigint, 'changes nothing');
SELECT is((SELECT "updatedAt" FROM public."Subscription" WHERE "userId" = 'ua'), (SELECT "updatedAt" FROM before), 'and writes no row');

-- It moves everything from one user to the other.
SELECT is(momento_billing.link_customer('cus_a', 'ua_other'), 2::bigint, 'another user');
SELECT is(fixture.app_row('ua'), 'BASIC INACTIVE', 'the first one loses the row');
SELECT is(momento_billing.effective_tier('ua'), 'BASIC', 'and the access');
SELECT is(pg_temp.others('ua'), NULL, 'all of it');
SELECT is(fixture.app_row('ua_other'), 'BUSINESS ACTIVE sub_a2', 'the second gets it');
SELECT is(pg_temp.others('ua_other'), 'sub_a1 PRO', 'all of it');
SELECT is((SELECT string_agg(DISTINCT user_id, ',') FROM momento_billing.stripe_subscription WHERE customer_id = 'cus_a'), 'ua_other', 'every subscription is the new user''s');
SELECT is(pg_temp.bought('evt_a3', 'sub_a3', 'cus_a', at => '2026-01-02 00:00+00'), 'applied', 'and so is one that comes later');
SELECT is(pg_temp.others('ua_other'), 'sub_a1 PRO, sub_a3 PRO', 'R28: beside the others');

-- Both users keep what is theirs otherwise; the names sort either way.
SELECT is(pg_temp.bought('evt_b1' || u, 'sub_b1' || u, 'cus_b1' || u, user_id => u), 'applied', 'PRO of ' || u) FROM unnest('{b_first,b_second}'::text[]) AS u;
SELECT is(pg_temp.bought('evt_b2', 'sub_b2', 'cus_b2', user_id => 'b_first', price => 'price_business_month'), 'applied', 'BUSINESS beside it');
SELECT is(fixture.app_row('b_first'), 'BUSINESS ACTIVE sub_b2', 'is shown');
SELECT is(momento_billing.link_customer('cus_b2', 'b_second'), 1::bigint, 'link_customer overrides metadata');
SELECT is(fixture.app_row('b_first'), 'PRO ACTIVE sub_b1b_first', 'the first user''s own subscription is shown again');
SELECT is(fixture.app_row('b_second'), 'BUSINESS ACTIVE sub_b2', 'the second user''s better one');
SELECT is(momento_billing.link_customer('cus_b2', 'b_first'), 1::bigint, 'and back: link_customer overrides a former manual link');
SELECT is(fixture.app_row('b_first') || ', ' || fixture.app_row('b_second'), 'BUSINESS ACTIVE sub_b2, PRO ACTIVE sub_b1b_second', 'all as before');
SELECT is(pg_temp.bought('evt_b3', 'sub_b2', 'cus_b2', user_id => 'b_second', at => t, price => 'price_business_month'), outcome, 'rule 5: metadata under a manual link, ' || t)
	FROM (VALUES ('2020-01-01 00:00+00'::timestamptz, 'stale older_than_state'), ('2026-03-01 00:00+00', 'duplicate')) AS v (t, outcome);
SELECT is(pg_temp.link('cus_b2'), 'b_first manual', 'rule 5: changes nothing');

-- In advance, and too late.
SELECT is(momento_billing.link_customer('cus_c', 'uc'), 0::bigint, 'a customer that is not known yet');
SELECT is(fixture.app_row('uc'), NULL, 'gives nobody a row');
SELECT is(pg_temp.bought('evt_c1', 'sub_c', 'cus_c', user_id => 'uc_other'), 'applied', 'what comes then');
SELECT is(fixture.app_row('uc'), 'PRO ACTIVE sub_c', 'is the user''s');
SELECT is(fixture.app_row('uc_other'), NULL, 'whatever metadata says');
SELECT is(pg_temp.bought('evt_c2', 'sub_c2', 'cus_c2'), 'waiting unknown_user', 'nobody is known');
UPDATE momento_billing.webhook_inbox SET received_at = now() - interval '73 h', next_attempt_at = now() - interval '1 h' WHERE event_id = 'evt_c2';
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'for too long');
SELECT is(fixture.inbox('evt_c2'), 'dead unknown_user', 'it is dead');
SELECT is(momento_billing.link_customer('cus_c2', 'uc2'), 1::bigint, 'a link that comes after that');
SELECT is(fixture.app_row('uc2'), 'PRO ACTIVE sub_c2', 'still makes the row');

-- A conflict, decided by a person.
SELECT is(pg_temp.bought('evt_d1', 'sub_d', 'cus_d', user_id => 'ud', at => '2026-01-05 00:00+00'), 'applied', 'metadata');
SELECT is(pg_temp.checked_out('evt_d2', 'sub_d', 'cus_d', user_id => 'ud_other', at => '2026-01-06 00:00+00'), 'ignored link_conflict', 'a conflict');
SELECT is(momento_billing.link_customer('cus_d', 'ud_other'), 1::bigint, 'a person decides');
SELECT ok(momento_billing.replay_event('evt_d2'), 'and replays it');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'then it');
SELECT is(fixture.inbox('evt_d2'), 'processed unchanged', 'is no conflict any more');
SELECT is(fixture.app_row('ud_other'), 'PRO ACTIVE sub_d', 'and the row stays where it was put');

-- R27: a claim counts for a user without a stronger customer, whatever comes
-- first: 1 the claim, 2 its subscription, 3 metadata of another customer.
CREATE FUNCTION pg_temp.claimed(u text, things int[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	thing int;
BEGIN
	FOREACH thing IN ARRAY things LOOP
		PERFORM CASE thing
			WHEN 1 THEN pg_temp.checked_out('evt_1' || u, 'sub_1' || u, 'cus_1' || u, reference => u)
			WHEN 2 THEN pg_temp.bought('evt_2' || u, 'sub_1' || u, 'cus_1' || u, price => 'price_business_month', at => '2026-01-02 00:00+00')
			WHEN 3 THEN pg_temp.bought('evt_3' || u, 'sub_3' || u, 'cus_3' || u, user_id => u, at => '2026-01-03 00:00+00')
			WHEN 4 THEN pg_temp.bought('evt_4' || u, 'sub_3' || u, 'cus_3' || u, user_id => u || '_first', at => '2026-01-02 00:00+00')
			WHEN 5 THEN pg_temp.checked_out('evt_5' || u, 'sub_5' || u, 'cus_5' || u, reference => u, at => '2025-12-31 00:00+00')
			WHEN 6 THEN pg_temp.bought('evt_6' || u, 'sub_5' || u, 'cus_5' || u, at => '2026-01-04 00:00+00')
		END;
	END LOOP;
	RETURN concat_ws(', ', fixture.app_row(u), momento_billing.effective_tier(u), pg_temp.others(u));
END
$$;
SELECT is(pg_temp.claimed('claim_' || pg_temp.name(o), o), format('PRO ACTIVE sub_3claim_%s, PRO', pg_temp.name(o)), 'R27: a claim against metadata, order ' || pg_temp.name(o))
	FROM pg_temp.orders(3) AS o;
SELECT is((SELECT string_agg(DISTINCT fixture.inbox(event_id), ', ') FROM momento_billing.webhook_inbox WHERE event_id IN ('evt_1claim_312', 'evt_2claim_312')),
	'waiting unknown_user', 'R27: what does not count waits');
SELECT is((SELECT waiting_for::text FROM momento_billing.webhook_inbox WHERE event_id = 'evt_2claim_312'), 'cus_1claim_312', 'R27: for its customer');
SELECT is((SELECT string_agg(concat_ws(' ', ref, counts, reason), ', ' ORDER BY ref) FROM momento_billing.explain_tier('claim_312') WHERE source = 'subscription'),
	'sub_1claim_312 f claim_not_counted, sub_3claim_312 t live', 'R27: and explain_tier says so');
-- Two claims: the oldest counts, though the other one buys more.
SELECT is(pg_temp.claimed('two_' || pg_temp.name(o), t), format('PRO ACTIVE sub_5two_%s, PRO', pg_temp.name(o)), 'R27: two claims, order ' || pg_temp.name(o))
	FROM pg_temp.orders(4) AS o, LATERAL (SELECT array_agg(('{1,2,5,6}'::int[])[i] ORDER BY n) FROM unnest(o) WITH ORDINALITY AS x (i, n)) AS p (t);
-- Metadata proves to be another user's: the claim counts again.
SELECT is(pg_temp.claimed('again_' || pg_temp.name(o), o), format('BUSINESS ACTIVE sub_1again_%s, BUSINESS', pg_temp.name(o)),
		'R27: a claim whose rival is another user''s, order ' || pg_temp.name(o))
	FROM pg_temp.orders(4) AS o;
SELECT is((SELECT string_agg(DISTINCT fixture.app_row('again_' || pg_temp.name(o) || '_first'), ', ') FROM pg_temp.orders(4) AS o WHERE o[1] = 1 AND o[2] = 2 AND o[3] = 3),
	'PRO ACTIVE sub_3again_1234', 'R27: who has the row of the rival');
SELECT is((SELECT count(*) FROM pg_temp.orders(4) AS o WHERE fixture.app_row('again_' || pg_temp.name(o) || '_first') = 'PRO ACTIVE sub_3again_' || pg_temp.name(o)),
	24::bigint, 'R27: in every order');
SELECT is((SELECT string_agg(DISTINCT event_id || ' ' || fixture.inbox(event_id), ', ') FROM momento_billing.webhook_inbox
	WHERE event_id ~ '^evt_[12]again_' AND status <> 'processed'), NULL, 'rule 5: nothing that counts is left waiting');
-- By hand.
SELECT is(pg_temp.claimed('hand', '{3,1,2}'), 'PRO ACTIVE sub_3hand, PRO', 'R27: a claim that does not count');
SELECT is(momento_billing.link_customer('cus_3hand', 'hand_other'), 1::bigint, 'its rival is linked elsewhere');
SELECT is(fixture.app_row('hand_other'), 'PRO ACTIVE sub_3hand', 'which moves the rival');
SELECT is(fixture.app_row('hand'), 'BUSINESS ACTIVE sub_1hand', 'R27: and the claim begins to count');
SELECT is(fixture.inbox('evt_' || n || 'hand'), 'processed', 'rule 5: its event ' || n || ' waits no more') FROM generate_series(1, 2) AS n;
SELECT is(momento_billing.link_customer('cus_3hand', 'hand'), 1::bigint, 'and back');
SELECT is(fixture.app_row('hand'), 'PRO ACTIVE sub_3hand', 'R27: it counts no longer');
SELECT is(fixture.app_row('hand_other'), 'BASIC INACTIVE', 'the other user has nothing');
SELECT is(momento_billing.link_customer('cus_1hand', 'hand'), 1::bigint, 'a person confirms the claim');
SELECT is(fixture.app_row('hand'), 'BUSINESS ACTIVE sub_1hand', 'then both count');
SELECT is(pg_temp.others('hand'), 'sub_3hand PRO', 'beside each other');
-- Two claims of one second.
SELECT is(pg_temp.checked_out('evt_s' || c, 'sub_s' || c, 'cus_s' || c, reference => 'us'), outcome, 'R19: claims of one second: ' || c)
	FROM (VALUES ('2', 'applied'), ('1', 'applied'), ('3', 'waiting unknown_user')) AS v (c, outcome);
SELECT is(pg_temp.bought('evt_t' || c, 'sub_s' || c, 'cus_s' || c), outcome, 'R27: of which one counts: ' || c)
	FROM (VALUES ('2', 'waiting unknown_user'), ('3', 'waiting unknown_user'), ('1', 'applied')) AS v (c, outcome);
SELECT is(fixture.app_row('us'), 'PRO ACTIVE sub_s1', 'R27: always the same');

-- A row that the app wrote is a manual link.
SELECT pg_temp.app_writes('ue', 'BASIC', 'INACTIVE', 'cus_e');
SELECT is(pg_temp.bought('evt_e1', 'sub_e', 'cus_e', user_id => 'ue_other'), 'applied', 'rule 5: a customer in a row of the app');
SELECT is(pg_temp.link('cus_e'), 'ue manual', 'rule 5: is that row''s user');
SELECT is(fixture.app_row('ue'), 'PRO ACTIVE sub_e', 'who gets the subscription');
SELECT is(fixture.app_row('ue_other'), NULL, 'although metadata says another');
SELECT is(pg_temp.bought('evt_f1', 'sub_f', 'cus_f'), 'waiting unknown_user', 'the event comes before the row');
SELECT pg_temp.app_writes('uf', 'BASIC', 'INACTIVE', 'cus_f');
SELECT is(pg_temp.bought('evt_f2', 'sub_f', 'cus_f', at => '2026-01-02 00:00+00'), 'unchanged', 'rule 5: the next event, which says nothing new, finds it');
SELECT is(fixture.app_row('uf'), 'PRO ACTIVE sub_f', 'and fills it');
SELECT is(fixture.inbox('evt_f1'), 'processed', 'the first one waits no more');
SELECT is(pg_temp.bought('evt_g1', 'sub_g', 'cus_g', user_id => 'ug_other'), 'applied', 'metadata comes before the row');
SELECT pg_temp.app_writes('ug', 'BASIC', 'INACTIVE', 'cus_g');
SELECT is(pg_temp.bought('evt_g2', 'sub_g', 'cus_g', at => '2026-01-02 00:00+00'), 'unchanged', 'a row written after a link is known');
SELECT is(fixture.app_row('ug'), 'BASIC INACTIVE', 'rule 5: is not read as one');
SELECT pg_temp.app_writes('uh', 'BASIC', 'INACTIVE', 'cus_h');
SELECT is(pg_temp.checked_out('evt_h1', 'sub_h', 'cus_h2', reference => 'uh'), 'waiting unknown_user', 'R27: a claim against a row of the app');
SELECT is(pg_temp.link('cus_h'), 'uh manual', 'whose customer is the user''s');
SELECT is(pg_temp.bought('evt_h2', 'sub_h', 'cus_h2'), 'waiting unknown_user', 'R27: gives nothing');
SELECT pg_temp.app_writes(u, 'BASIC', 'INACTIVE', 'cus_i') FROM unnest('{ui_2,ui_1}'::text[]) AS u;
SELECT is(pg_temp.bought('evt_i1', 'sub_i', 'cus_i'), 'applied', 'two rows with one customer');
SELECT is(pg_temp.link('cus_i'), 'ui_1 manual', 'are decided, always alike');

-- With its subscription, whose state is taken over until Stripe says more.
SELECT pg_temp.app_writes('uj', 'BUSINESS', 'ACTIVE', 'cus_j', 'sub_j', 'price_business_month');
SELECT is(pg_temp.bought('evt_j1', 'sub_j2', 'cus_j'), 'applied', 'rule 5: an event of another subscription of that customer');
SELECT is(fixture.app_row('uj'), 'BUSINESS ACTIVE sub_j', 'the app''s own one stays, being better');
SELECT is(pg_temp.others('uj'), 'sub_j2 PRO', 'with the other one beside it');
SELECT is((SELECT concat_ws(' ', user_id, status, tier, price_id) FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_j'),
	'uj active BUSINESS price_business_month', 'its state is taken over');
SELECT is(pg_temp.bought('evt_j2', 'sub_j', 'cus_j', at => '2020-01-01 00:00+00', price => 'price_business_month', status => s), 'applied', 'and yields to any event: ' || s)
	FROM (VALUES ('past_due')) AS v (s);
SELECT is(fixture.app_row('uj'), 'PRO ACTIVE sub_j2', 'however old');
SELECT is(momento_billing.effective_tier('uj'), 'BUSINESS', 'past due in its period it still counts');
SELECT pg_temp.app_writes('uk', 'PRO', 'ACTIVE', 'cus_k', 'sub_k');
SELECT is(pg_temp.bought('evt_k1', 'sub_k', 'cus_k', at => '2020-01-01 00:00+00', status => 'canceled'), 'applied', 'an event of that subscription itself');
SELECT is(fixture.app_row('uk'), 'PRO CANCELED sub_k', 'counts at once');
SELECT pg_temp.app_writes('ul', 'PRO', 'INACTIVE', 'cus_l', 'sub_l');
SELECT is(pg_temp.checked_out('evt_l1', 'sub_l2', 'cus_l'), 'unchanged', 'an inactive row with a subscription');
SELECT is((SELECT count(*) FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_l'), 0::bigint, 'says nothing of its state');
SELECT is(fixture.app_row('ul'), 'PRO INACTIVE sub_l', 'and stays as it is');

-- customer.deleted.
SELECT is(pg_temp.customer_deleted('evt_m1', 'cus_m'), 'applied', 'customer.deleted comes first');
SELECT is(pg_temp.link('cus_m'), 'deleted', 'it links nobody');
SELECT is(pg_temp.bought('evt_m2', 'sub_m', 'cus_m', user_id => 'um'), 'applied', 'then its subscription');
SELECT is(pg_temp.link('cus_m'), 'um metadata deleted', 'is linked as any other');
SELECT is(fixture.app_row('um'), 'PRO ACTIVE sub_m', 'and makes the row');
SELECT is(pg_temp.customer_deleted('evt_m3', 'cus_m'), 'unchanged', 'deleted again');
SELECT is(pg_temp.bought('evt_n1', 'sub_n', 'cus_n', user_id => 'un'), 'applied', 'a subscription');
SELECT is(pg_temp.customer_deleted('evt_n2', 'cus_n'), 'applied', 'whose customer is deleted');
SELECT is(pg_temp.link('cus_n'), 'un metadata deleted', 'the link is kept');
SELECT is(fixture.app_row('un'), 'PRO ACTIVE sub_n', 'and the row');
SELECT is(pg_temp.bought('evt_n3', 'sub_n', 'cus_n', at => '2026-02-01 00:00+00', status => 'canceled'), 'applied', 'until the subscription''s own end');
SELECT is(fixture.app_row('un'), 'PRO CANCELED sub_n', 'comes');
SELECT is(pg_temp.bought('evt_o1', 'sub_o', 'cus_o'), 'waiting unknown_user', 'nobody is known');
SELECT is(pg_temp.customer_deleted('evt_o2', 'cus_o'), 'applied', 'and the customer is deleted');
SELECT is(fixture.inbox('evt_o1'), 'waiting unknown_user', 'the event waits on');
SELECT is(momento_billing.link_customer('cus_o', 'uo'), 1::bigint, 'for a person');
SELECT is(pg_temp.link('cus_o'), 'uo manual deleted', 'deleted is not forgotten by that');
SELECT is(fixture.app_row('uo'), 'PRO ACTIVE sub_o', 'the row is there');
-- R7: an event may have no customer.
SELECT is(fixture.sync('customer.subscription.deleted', 'evt_nc1', '2026-01-03 00:00+00', fixture.subscription('sub_nc', 'canceled', user_id => 'unc', extra => '{"customer": null}')),
	'waiting unknown_user', 'R7: an event without a customer waits');
SELECT is((SELECT waiting_for FROM momento_billing.webhook_inbox WHERE event_id = 'evt_nc1'), 'sub_nc', 'R7: for its subscription''s');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_nc2', '2026-01-02 00:00+00', fixture.subscription('sub_nc', 'active', customer => 'cus_nc', user_id => 'unc')),
	'stale older_than_state', 'R7: an older one has a customer');
SELECT is(fixture.inbox('evt_nc1'), 'processed', 'R7: then it is processed');
SELECT is(fixture.app_row('unc'), 'PRO CANCELED sub_nc', 'R7: with its effect');

SELECT * FROM finish();
ROLLBACK;
