-- Who may do what, and with whose rights the app's own code runs.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE ROLE regress_mb_app;
CREATE ROLE regress_mb_admin;
CREATE ROLE regress_mb_owner;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.add_prices();
GRANT USAGE ON SCHEMA fixture TO PUBLIC;

-- The app's table belongs to the app's owner, who lets nobody else near it.
GRANT CREATE ON SCHEMA public TO regress_mb_owner;
SET ROLE regress_mb_owner;
SELECT momento_billing.create_subscription_table();
RESET ROLE;
GRANT USAGE ON SCHEMA momento_billing TO regress_mb_owner;
GRANT EXECUTE ON FUNCTION momento_billing.create_subscription_table() TO regress_mb_owner;
SET ROLE regress_mb_owner;
SELECT momento_billing.create_subscription_table();
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('1', 'u1', 'PRO', 'ACTIVE', now());
ALTER TABLE public."Subscription" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
RESET ROLE;
REVOKE ALL ON FUNCTION momento_billing.create_subscription_table() FROM regress_mb_owner;
REVOKE ALL ON SCHEMA momento_billing FROM regress_mb_owner;

-- Nobody has anything unasked.
SET ROLE regress_mb_app;
SELECT momento_billing.effective_tier('u1');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.grant_app_access('regress_mb_app');
RESET ROLE;
GRANT USAGE ON SCHEMA momento_billing TO regress_mb_app;
SET ROLE regress_mb_app;
SELECT momento_billing.effective_tier('u1');
SELECT * FROM momento_billing.receive_webhook('{}'::bytea, '');
RESET ROLE;

-- An app.
SELECT momento_billing.grant_app_access('regress_mb_app');
SELECT momento_billing.grant_app_access('regress_mb_missing');
SELECT p.oid::regprocedure AS app_may FROM pg_proc p WHERE p.pronamespace = 'momento_billing'::regnamespace
	AND has_function_privilege('regress_mb_app', p.oid, 'EXECUTE') ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT c.oid::regclass AS app_may FROM pg_class c WHERE c.relnamespace = 'momento_billing'::regnamespace
	AND c.relkind IN ('r', 'v') AND has_table_privilege('regress_mb_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE');

SET ROLE regress_mb_app;
-- It has no right to the table, and its row security hides every row: reads
-- answer all the same, because the function's grant is what decides.
SELECT count(*) FROM public."Subscription";
SELECT momento_billing.effective_tier('u1'), momento_billing.effective_tier('u1', '2020-01-01'), momento_billing.quota_remaining('u1', 'ai_chat');
SELECT count(*), min(tier) FROM momento_billing.quota_remaining('u1');
SELECT momento_billing.billing_status('u1') ->> 'tier' AS tier;
SELECT momento_billing.resolve_price_id('PRO', 'month'), momento_billing.price_id_to_tier('price_pro_year');
SET momento_billing.user_id = 'u1';
SELECT count(*) FROM momento_billing.quota_remaining();
SELECT allowed, remaining FROM momento_billing.consume_quota('u1', 'ai_chat', 2, 'rights');
SELECT refunded, remaining FROM momento_billing.refund_quota('u1', 'ai_chat', 1, 'rights');
SELECT allowed FROM momento_billing.reserve_quota('u1', 'ai_chat');
SELECT committed FROM momento_billing.commit_reservation(1);
SELECT released FROM momento_billing.release_reservation(1);
SELECT * FROM momento_billing.receive_webhook('{}'::bytea, 'nonsense');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.receive_webhook('{}'::text, 'nonsense');
-- And what is not the app's.
SELECT momento_billing.verify_signature('', '', '');
SELECT * FROM momento_billing.sync_subscription_from_event('{}');
SELECT momento_billing.drain_inbox();
SELECT momento_billing.seed_plans();
SELECT momento_billing.grant_quota('u1', 'ai_chat', 1000);
SELECT momento_billing.import_redis_usage('usage:u1:ai_chat:2026-01', 1);
SET momento_billing.quota_period = 'billing';
SELECT * FROM momento_billing.usage;
SELECT * FROM momento_billing.entitlement;
SELECT * FROM momento_billing.worker_status;
SELECT * FROM momento_billing.webhook_inbox;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{}');
UPDATE momento_billing.plan_limit SET monthly_limit = NULL;
SET momento_billing.subscription_table = 'public.mine';
SET momento_billing.webhook_secret_file = '/etc/hostname';
SET momento_billing.livemode = 'live';
SET momento_billing.signature_tolerance = '1 day';
SET momento_billing.force_spi = on;
SET momento_billing.enabled = off;
-- the server's own text differs from one major to another
\set VERBOSITY sqlstate
SHOW momento_billing.webhook_secret_file;
\set VERBOSITY default
RESET ROLE;

-- An app that verifies signatures itself may insert a payload, and nothing else.
GRANT INSERT (payload), SELECT (event_id) ON momento_billing.webhook_inbox TO regress_mb_app;
SET ROLE regress_mb_app;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{"id": "evt_direct", "object": "event", "type": "t", "created": 1}')
	ON CONFLICT (event_id) DO NOTHING;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{"id": "evt_direct"}') ON CONFLICT (event_id) DO NOTHING;
INSERT INTO momento_billing.webhook_inbox (payload, status) VALUES ('{}', 'processed');
INSERT INTO momento_billing.webhook_inbox (payload, event_id) VALUES ('{}', 'evt_forged');
SELECT payload FROM momento_billing.webhook_inbox;
RESET ROLE;
SELECT event_id, event_type, status FROM momento_billing.webhook_inbox;

-- An admin.
SELECT momento_billing.grant_admin_access('regress_mb_admin');
SELECT p.oid::regprocedure AS admin_may_not FROM pg_proc p WHERE p.pronamespace = 'momento_billing'::regnamespace
	AND NOT has_function_privilege('regress_mb_admin', p.oid, 'EXECUTE');
SELECT c.oid::regclass AS admin_may_not_read FROM pg_class c WHERE c.relnamespace = 'momento_billing'::regnamespace
	AND c.relkind IN ('r', 'v') AND NOT has_table_privilege('regress_mb_admin', c.oid, 'SELECT');
SELECT c.oid::regclass AS admin_may_write FROM pg_class c WHERE c.relnamespace = 'momento_billing'::regnamespace
	AND c.relkind IN ('r', 'v') AND has_table_privilege('regress_mb_admin', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE');
SET ROLE regress_mb_admin;
-- cannot pass on what it was given, and is told so
SELECT momento_billing.grant_app_access('regress_mb_app');
SELECT momento_billing.grant_admin_access('regress_mb_app');
SELECT momento_billing.drain_inbox();
SELECT momento_billing.seed_plans();
SELECT user_id, tier, effective_tier FROM momento_billing.entitlement;
SELECT status, events FROM momento_billing.inbox_stats WHERE events > 0;
SELECT * FROM momento_billing.sync_subscription_from_event('{"id": "evt_x", "object": "event", "type": "t", "created": 1}');
DELETE FROM momento_billing.webhook_inbox;
RESET ROLE;

-- A hostile search_path: names of ours and of PostgreSQL's that do harm.
CREATE SCHEMA evil;
CREATE FUNCTION evil.harm(text, text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.harm_id(bigint, bigint) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.harm_name(name, text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE OPERATOR evil.= (FUNCTION = evil.harm, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.<> (FUNCTION = evil.harm, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.harm_id, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.> (FUNCTION = evil.harm_id, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.= (FUNCTION = evil.harm_name, LEFTARG = name, RIGHTARG = text);
CREATE OPERATOR evil.+ (FUNCTION = evil.harm_id, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.- (FUNCTION = evil.harm_id, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.>= (FUNCTION = evil.harm_id, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.<= (FUNCTION = evil.harm_id, LEFTARG = bigint, RIGHTARG = bigint);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.count(bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE FUNCTION evil.parse_ident(text, bool DEFAULT true) RETURNS text[] LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''harm''; END';
CREATE TABLE evil."Subscription" (LIKE public."Subscription");
CREATE TABLE evil.tier (LIKE momento_billing.tier);
CREATE TABLE evil.webhook_inbox (LIKE momento_billing.webhook_inbox);
CREATE TABLE evil.usage (LIKE momento_billing.usage);
CREATE TABLE fixture.event_of AS SELECT n, fixture.event('evt_' || n, 'customer.subscription.created', '2026-01-01 00:00+00',
	fixture.subscription('sub_' || n, 'active', customer => 'cus_' || n, user_id => 'v' || n)) AS event FROM generate_series(1, 4) AS n;
SET search_path = evil, pg_catalog;
SELECT now();
SELECT * FROM momento_billing.sync_subscription_from_event((SELECT event FROM fixture.event_of WHERE n OPERATOR(pg_catalog.=) 1));
INSERT INTO momento_billing.webhook_inbox (payload) SELECT event FROM fixture.event_of WHERE n OPERATOR(pg_catalog.>) 1;
SELECT momento_billing.drain_inbox();
SELECT momento_billing.effective_tier('v1'), momento_billing.effective_tier('v2', '2020-01-01'), momento_billing.billing_status('v3') ->> 'tier' AS tier;
SELECT momento_billing.quota_remaining('v1', 'ai_chat'), (SELECT pg_catalog.count(*) FROM momento_billing.quota_remaining('v1'));
SELECT momento_billing.grant_quota('v1', 'ai_chat', 5) IS NOT NULL AS granted;
SELECT allowed, remaining FROM momento_billing.consume_quota('v1', 'ai_chat', 1);
SELECT allowed, remaining FROM momento_billing.consume_quota('v1', 'ai_chat', 101, 'evil');
SELECT allowed, remaining FROM momento_billing.reserve_quota('v1', 'ai_chat', 2, '1 min', 'held');
UPDATE momento_billing.quota_reservation SET expires_at = statement_timestamp() WHERE user_id OPERATOR(pg_catalog.=) 'v1';
SELECT committed, remaining FROM momento_billing.quota_reservation AS r, momento_billing.commit_reservation(r.id, 1) WHERE r.user_id OPERATOR(pg_catalog.=) 'v1';
SELECT released, reason FROM momento_billing.quota_reservation AS r, momento_billing.release_reservation(r.id) WHERE r.user_id OPERATOR(pg_catalog.=) 'v1';
SELECT * FROM momento_billing.refund_quota('v1', 'ai_chat', 50, 'evil');
SELECT * FROM momento_billing.refund_quota('v1', 'ai_chat', 1);
SELECT momento_billing.import_redis_usage('usage:v1:ai_chat:2026-01', 7);
SELECT user_id, tier FROM momento_billing.entitlement ORDER BY user_id COLLATE "C";
SELECT status, events, lag FROM momento_billing.inbox_stats;
SELECT momento_billing.seed_plans();
SELECT momento_billing.grant_app_access('regress_mb_app'), momento_billing.grant_admin_access('regress_mb_admin');
TRUNCATE momento_billing.webhook_inbox;
SELECT momento_billing.drain_inbox();
RESET search_path;
SELECT count(*) FROM evil."Subscription";

-- A trigger on the app's table is the owner's code: it runs as the owner, and
-- cannot become anybody else.
CREATE TABLE public.witness (n int GENERATED ALWAYS AS IDENTITY, who text);
GRANT INSERT ON public.witness TO regress_mb_owner;
SET ROLE regress_mb_owner;
CREATE FUNCTION public.observe() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.witness (who) VALUES (current_user);
	RETURN NEW;
END
$$;
CREATE TRIGGER observe BEFORE INSERT OR UPDATE ON public."Subscription" FOR EACH ROW EXECUTE FUNCTION public.observe();
RESET ROLE;
CREATE FUNCTION fixture.purchase(n int, user_id text) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.outcome, r.reason, (SELECT i.last_error FROM momento_billing.webhook_inbox i WHERE i.event_id = 'evt_' || n) AS last_error
	FROM momento_billing.sync_subscription_from_event(fixture.event('evt_' || n, 'customer.subscription.created', '2026-01-01 00:00+00',
		fixture.subscription('sub_' || n, 'active', customer => 'cus_' || n, user_id => user_id))) AS r
$$;
\set purchase 'AS (outcome text, reason text, last_error text)'
SELECT outcome, reason FROM fixture.purchase(11, 'w1') :purchase;
SELECT who FROM public.witness ORDER BY n;

CREATE FUNCTION pg_temp.try(body text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	error text;
BEGIN
	EXECUTE format('CREATE OR REPLACE FUNCTION public.observe() RETURNS trigger LANGUAGE plpgsql AS %L', 'BEGIN ' || body || '; RETURN NEW; END');
	DELETE FROM momento_billing.webhook_inbox WHERE event_id = 'evt_12';
	DELETE FROM public."Subscription" WHERE "userId" = 'w2';
	PERFORM momento_billing.sync_subscription_from_event(fixture.event('evt_12', 'customer.subscription.created', '2026-01-01 00:00+00',
		fixture.subscription('sub_12', 'active', customer => 'cus_12', user_id => 'w2')));
	SELECT last_error INTO error FROM momento_billing.webhook_inbox WHERE event_id = 'evt_12';
	RETURN error;
END
$$;
SELECT pg_temp.try('PERFORM count(*) FROM momento_billing.webhook_inbox');
SELECT pg_temp.try('UPDATE momento_billing.tier SET rank = rank');
SELECT pg_temp.try('RESET ROLE');
SELECT pg_temp.try('SET ROLE regress_mb_app');
SELECT pg_temp.try('SET SESSION AUTHORIZATION regress_mb_app');
SELECT pg_temp.try('CREATE TEMP TABLE t (a int)');
SELECT pg_temp.try('SET momento_billing.subscription_table = ''public.mine''');
SELECT pg_temp.try('RAISE EXCEPTION ''not today''');
SELECT pg_temp.try('NULL');
SELECT "userId", tier FROM public."Subscription" WHERE "userId" = 'w2';
SELECT current_user = session_user AS still_me;

-- A view in the table's place: its functions run as the view's owner, whoever asks.
CREATE SCHEMA app AUTHORIZATION regress_mb_owner;
SET ROLE regress_mb_owner;
CREATE FUNCTION app.who() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
CREATE VIEW app.subscription AS SELECT '1'::text AS id, 'u1'::text AS user_id, app.who() AS tier, 'ACTIVE'::text AS status, ''::text AS stripe_customer_id,
	''::text AS stripe_subscription_id, ''::text AS stripe_price_id, now() AS current_period_start, now() AS current_period_end,
	false AS cancel_at_period_end, now() AS created_at, now() AS updated_at;
RESET ROLE;
SET momento_billing.subscription_table = 'app.subscription';
SELECT momento_billing.effective_tier('u1');
SELECT tier FROM momento_billing.entitlement;
RESET momento_billing.subscription_table;
ROLLBACK;
