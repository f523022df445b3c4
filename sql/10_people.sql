-- What people do and ask: links, grants, replays, explanations.  As an admin.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE ROLE regress_mb_admin;
CREATE EXTENSION momento_billing;
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.set_up();
GRANT USAGE ON SCHEMA fixture TO PUBLIC;
SELECT momento_billing.grant_admin_access('regress_mb_admin');
INSERT INTO public."Subscription" (id, "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "currentPeriodStart", "currentPeriodEnd", "updatedAt") VALUES
	('1', 'ada', 'ENTERPRISE', 'ACTIVE', NULL, NULL, NULL, NULL, now()),
	('2', 'bob', 'PRO', 'CANCELED', 'cus_bob', 'sub_bob', '2026-01-01', '2099-01-01', now());
SET ROLE regress_mb_admin;

-- A live app's rows are taken over.
SELECT momento_billing.adopt_subscriptions();
SELECT momento_billing.adopt_subscriptions();
SELECT customer_id, user_id, link_source FROM momento_billing.stripe_customer;
SELECT * FROM momento_billing.explain_tier('ada');
SELECT * FROM momento_billing.explain_tier('bob');
SELECT * FROM momento_billing.explain_tier('nobody');

-- An event whose user nobody knows, and a person who does.
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_1', 'customer.subscription.created', '2026-01-01',
	fixture.subscription('sub_1', 'active', customer => 'cus_1')));
SELECT momento_billing.link_customer('cus_1', 'bob');
SELECT user_id, tier, status, effective_tier, until, source FROM momento_billing.entitlement ORDER BY user_id;
SELECT user_id, event_id, old_tier, new_tier, old_status, new_status FROM momento_billing.subscription_history ORDER BY id;

-- A grant, and its end.
SELECT momento_billing.grant_tier('bob', 'BUSINESS', '2098-01-01', 'a gesture');
SELECT source, ref, tier, status, until, counts, chosen, reason FROM momento_billing.explain_tier('bob');
SELECT id, user_id, tier, valid_until, reason, granted_by = session_user AS by_me FROM momento_billing.tier_grant ORDER BY id;
SELECT momento_billing.revoke_tier_grant(2);
SELECT momento_billing.revoke_tier_grant(2);
SELECT momento_billing.effective_tier('bob');

-- Dead events.
RESET ROLE;
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_2', 'customer.subscription.updated', '2026-01-02',
	fixture.subscription('sub_2', 'active', customer => 'cus_2', user_id => 'cyd')));
SELECT * FROM momento_billing.sync_subscription_from_event(fixture.event('evt_3', 'customer.subscription.updated', '2026-01-03',
	fixture.subscription('sub_2', 'active', customer => 'cus_2', user_id => 'dan')));
INSERT INTO momento_billing.webhook_inbox (payload_raw, status, reason) VALUES ('{"a": "\\u0000"}', 'dead', 'not_jsonb');
SET ROLE regress_mb_admin;
SELECT event_id, event_type, event_created, reason, attempts, last_error, can_replay FROM momento_billing.dead_events;
SELECT momento_billing.replay_dead(dry_run => true);
SELECT momento_billing.link_customer('cus_2', 'dan');
SELECT momento_billing.replay_dead();
SELECT momento_billing.replay_event('evt_1');
SELECT momento_billing.replay_event('evt_of_nobody');
SELECT momento_billing.drain_inbox();
SELECT event_id, status, reason FROM momento_billing.webhook_inbox ORDER BY id;

-- What is refused.
SELECT momento_billing.grant_tier('bob', 'GOLD');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.grant_tier('bob', 'PRO', '2001-01-01');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.grant_tier('', 'PRO');
SELECT momento_billing.grant_tier(NULL, 'PRO');
SELECT momento_billing.revoke_tier_grant(77);
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.revoke_tier_grant(NULL);
SELECT momento_billing.link_customer('', 'bob');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.link_customer('cus_1', NULL);
SELECT momento_billing.replay_dead(max_events => -1);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.explain_tier('');
\echo :LAST_ERROR_SQLSTATE
UPDATE momento_billing.tier_grant SET valid_until = NULL;
RESET ROLE;
UPDATE momento_billing.webhook_inbox SET payload = NULL WHERE event_id = 'evt_1';
SELECT momento_billing.replay_event('evt_1');
\echo :LAST_ERROR_SQLSTATE

-- Without the app's table, or the plans.
ALTER TABLE public."Subscription" RENAME TO gone;
SELECT momento_billing.link_customer('cus_1', 'bob');
SELECT momento_billing.adopt_subscriptions();
SELECT momento_billing.grant_tier('bob', 'PRO');
SELECT * FROM momento_billing.explain_tier('bob');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.grant_tier('bob', 'PRO');
SELECT momento_billing.link_customer('cus_1', 'bob');
SELECT * FROM momento_billing.explain_tier('bob');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
