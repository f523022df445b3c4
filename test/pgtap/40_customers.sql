-- From a Stripe customer to a user.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE FUNCTION pg_temp.bought(id text, subscription text, customer text, user_id text DEFAULT NULL, at timestamptz DEFAULT '2026-01-01 00:00+00')
	RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.created', id, at, fixture.subscription(subscription, 'active', customer => customer, user_id => user_id))
$$;
CREATE FUNCTION pg_temp.checked_out(id text, subscription text, customer text, user_id text DEFAULT NULL, reference text DEFAULT NULL,
	at timestamptz DEFAULT '2026-01-01 00:00+00') RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('checkout.session.completed', id, at,
		fixture.checkout('cs_' || id, subscription, customer => customer, user_id => user_id, client_reference_id => reference))
$$;
CREATE FUNCTION pg_temp.link(customer text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', user_id, link_source) FROM momento_billing.stripe_customer WHERE customer_id = customer
$$;

-- The link comes after the subscription (R26).
SELECT is(pg_temp.bought('evt_a1', 'sub_a', 'cus_a'), 'waiting unknown_user', 'R26: nobody is known yet');
SELECT is(fixture.inbox('evt_a1'), 'waiting unknown_user', 'R26: the event waits');
SELECT is((SELECT status FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_a'), 'active', 'R26: the state is kept');
SELECT is((SELECT count(*) FROM public."Subscription"), 0::bigint, 'R26: no row yet');
SELECT ok((SELECT next_attempt_at - received_at = interval '72 h' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_a1'), 'and waits for waiting_timeout');
SELECT is(pg_temp.checked_out('evt_a2', 'sub_a', 'cus_a', user_id => 'ua'), 'applied', 'the checkout names the user');
SELECT is(fixture.app_row('ua'), 'PRO ACTIVE sub_a', 'R26: the row appears');
SELECT is(fixture.inbox('evt_a1'), 'processed', 'rule 5: the waiting event is processed the moment a link appears');
SELECT is((SELECT waiting_for IS NULL AND next_attempt_at IS NULL FROM momento_billing.webhook_inbox WHERE event_id = 'evt_a1'), true, 'and is not due again');

-- The link comes before it.
SELECT is(pg_temp.checked_out('evt_b1', 'sub_b', 'cus_b', user_id => 'ub'), 'applied', 'a checkout without a plan links');
SELECT is(fixture.app_row('ub'), NULL, 'rule 3: and promises nothing');
SELECT is(pg_temp.bought('evt_b2', 'sub_b', 'cus_b'), 'applied', 'the subscription follows');
SELECT is(fixture.app_row('ub'), 'PRO ACTIVE sub_b', 'for the user of its customer');
SELECT is(pg_temp.bought('evt_b3', 'sub_b2', 'cus_b', at => '2026-01-02 00:00+00'), 'applied', 'R28: so does a later subscription of that customer');

-- Strength: metadata beats client_reference_id, in either order.
SELECT is(pg_temp.checked_out('evt_c1', 'sub_c', 'cus_c', reference => 'uc_reference'), 'applied', 'client_reference_id links');
SELECT is(pg_temp.link('cus_c'), 'uc_reference client_reference_id', 'as the weakest');
SELECT is(pg_temp.bought('evt_c2', 'sub_c', 'cus_c'), 'applied', 'R27: and gives its user the row');
SELECT is(fixture.app_row('uc_reference'), 'PRO ACTIVE sub_c', 'R27: for now');
SELECT is(pg_temp.checked_out('evt_c3', 'sub_c', 'cus_c', user_id => 'uc', at => '2026-01-05 00:00+00'), 'applied', 'metadata is stronger, though newer');
SELECT is(pg_temp.link('cus_c'), 'uc metadata', 'and re-binds');
SELECT is(fixture.app_row('uc'), 'PRO ACTIVE sub_c', 'the row goes to the right user');
SELECT is(fixture.app_row('uc_reference'), 'BASIC INACTIVE', 'and leaves the wrong one');
SELECT is(momento_billing.effective_tier('uc_reference'), 'BASIC', 'without access');
SELECT is(pg_temp.checked_out('evt_c4', 'sub_c', 'cus_c', reference => 'uc_reference', at => '2025-01-01 00:00+00'), 'unchanged', 'client_reference_id does not come back');
SELECT is(pg_temp.link('cus_c'), 'uc metadata', 'however old');
SELECT is(pg_temp.checked_out('evt_c5', 'sub_c5', 'cus_c5', user_id => 'uc5', reference => 'somebody'), 'applied', 'both in one session');
SELECT is(pg_temp.link('cus_c5'), 'uc5 metadata', 'metadata wins');

-- The new user has a row already, and its name sorts before or after: the
-- subscription leaves the one row before it enters the other.
SELECT is(pg_temp.bought('evt_r' || u, 'sub_old_' || u, 'cus_old_' || u, user_id => u), 'applied', u || ' has a row')
	FROM (VALUES ('a_new'), ('z_new')) AS v (u);
SELECT is(pg_temp.checked_out('evt_s' || u, 'sub_' || u, 'cus_' || u, reference => 'm_old_' || u), 'applied', 'a payment link binds the customer to another user')
	FROM (VALUES ('a_new'), ('z_new')) AS v (u);
SELECT is(pg_temp.bought('evt_t' || u, 'sub_' || u, 'cus_' || u, at => '2026-01-02 00:00+00'), 'applied', 'who gets the row')
	FROM (VALUES ('a_new'), ('z_new')) AS v (u);
SELECT is(pg_temp.bought('evt_u' || u, 'sub_' || u, 'cus_' || u, user_id => u, at => '2026-01-03 00:00+00'), 'applied', 'rule 5: metadata re-binds it to ' || u)
	FROM (VALUES ('a_new'), ('z_new')) AS v (u);
SELECT is(fixture.app_row(u), 'PRO ACTIVE sub_' || u, 'whose row shows the newer subscription')
	FROM (VALUES ('a_new'), ('z_new')) AS v (u);
SELECT is(fixture.app_row('m_old_' || u), 'BASIC INACTIVE', 'and not the other''s any more')
	FROM (VALUES ('a_new'), ('z_new')) AS v (u);

-- R27: anybody can set client_reference_id.
SELECT is(pg_temp.checked_out('evt_d1', 'sub_d', 'cus_d', reference => 'ua'), 'waiting unknown_user', 'R27: refused for a user who has another customer');
SELECT is(pg_temp.link('cus_d'), 'ua client_reference_id', 'R27: the claim is kept, but does not count');
SELECT is(pg_temp.bought('evt_d2', 'sub_d', 'cus_d'), 'waiting unknown_user', 'R27: so its subscription is nobody''s');
SELECT is(fixture.app_row('ua'), 'PRO ACTIVE sub_a', 'R27: and the victim keeps the own one');

-- Equally strong links: the oldest wins, the other is a conflict.
SELECT is(pg_temp.bought('evt_e1', 'sub_e', 'cus_e', user_id => 'ue', at => '2026-01-05 00:00+00'), 'applied', 'metadata links');
SELECT is(pg_temp.checked_out('evt_e2', 'sub_e', 'cus_e', user_id => 'ue_other', at => '2026-01-06 00:00+00'), 'ignored link_conflict', 'an equal link to another user is a conflict');
SELECT is(fixture.inbox('evt_e2'), 'dead link_conflict', 'which a person must look at');
SELECT is(fixture.app_row('ue'), 'PRO ACTIVE sub_e', 'nothing moves');
SELECT is(fixture.app_row('ue_other'), NULL, 'nobody gains');
SELECT is(pg_temp.checked_out('evt_e3', 'sub_e', 'cus_e', user_id => 'ue_first', at => '2026-01-04 00:00+00'), 'applied', 'an older one wins');
SELECT is(fixture.app_row('ue_first'), 'PRO ACTIVE sub_e', 'whenever it arrives');
SELECT is(fixture.app_row('ue'), 'BASIC INACTIVE', 'and the other one gives way');
SELECT is(pg_temp.checked_out('evt_e4', 'sub_e', 'cus_e', user_id => 'ue_first', at => '2026-01-07 00:00+00'), 'unchanged', 'the same link again is none');

-- A manual link is the strongest.
INSERT INTO momento_billing.stripe_customer VALUES ('cus_f', 'uf', 'manual', '2026-01-01 00:00+00');
SELECT is(pg_temp.bought('evt_f1', 'sub_f', 'cus_f', user_id => 'uf_other', at => '2020-01-01 00:00+00'), 'applied', 'metadata under a manual link');
SELECT is(fixture.app_row('uf'), 'PRO ACTIVE sub_f', 'the manual one counts');
SELECT is(fixture.app_row('uf_other'), NULL, 'whatever metadata says');

-- Shapes of the customer (R7), and none.
SELECT is(fixture.sync('customer.subscription.created', 'evt_g1', '2026-01-01 00:00+00', fixture.subscription('sub_g', 'active', user_id => 'ug',
	extra => '{"customer": {"id": "cus_g", "object": "customer", "email": "g@example.com"}}')), 'applied', 'R7: an expanded customer');
SELECT is(pg_temp.link('cus_g'), 'ug metadata', 'R7: is the same customer');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_g2', '2026-01-02 00:00+00', fixture.subscription('sub_g', 'past_due',
	extra => '{"customer": {"id": "cus_g", "object": "customer", "deleted": true}}')), 'applied', 'R7: a deleted one too');
SELECT is(fixture.app_row('ug'), 'PRO PAST_DUE sub_g', 'R7: the link is kept');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_g3', '2026-01-03 00:00+00', fixture.subscription('sub_g', 'active',
	extra => '{"customer": null}')), 'applied', 'R7: none: the subscription knows its own');
SELECT is(fixture.app_row('ug'), 'PRO ACTIVE sub_g', 'R7: and its user');

-- An invoice tells the user as well (R10).
SELECT is(pg_temp.bought('evt_h1', 'sub_h', 'cus_h', at => '2026-01-01 00:00+00'), 'waiting unknown_user', 'nobody is known');
SELECT is(fixture.sync('invoice.payment_failed', 'evt_h2', '2026-02-01 00:00+00', fixture.invoice('in_h', 'sub_h', customer => 'cus_h',
	starts => '2026-02-01', extra => '{"parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_h", "metadata": {"userId": "uh"}}}}')),
	'applied', 'R10: the invoice''s snapshot of the metadata names the user');
SELECT is(fixture.app_row('uh'), 'PRO PAST_DUE sub_h', 'R10: who gets the row');
SELECT is(fixture.inbox('evt_h1'), 'processed', 'R10: and the waiting event is done');
SELECT * FROM finish();
ROLLBACK;
