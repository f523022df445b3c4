-- The cache of the catalogue follows every change at once.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT plan(20);
SELECT fixture.set_up();
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('1', 'u1', 'PRO', 'ACTIVE', now());

SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 100::bigint, 'as seeded');
SAVEPOINT change;
UPDATE momento_billing.plan_limit SET monthly_limit = 7 WHERE tier = 'PRO' AND feature = 'ai_chat';
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 7::bigint, 'UPDATE is seen by the next call');
DELETE FROM momento_billing.plan_limit WHERE tier = 'PRO' AND feature = 'ai_chat';
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 0::bigint, 'DELETE');
INSERT INTO momento_billing.plan_limit VALUES ('PRO', 'ai_chat', NULL);
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), NULL, 'INSERT');
TRUNCATE momento_billing.plan_limit;
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 0::bigint, 'TRUNCATE');
ROLLBACK TO change;
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 100::bigint, 'what was taken back was never there');

SELECT throws_ok($$SELECT momento_billing.price_id_to_tier('price_new')$$, 'MB002', NULL, 'no such price');
INSERT INTO momento_billing.price VALUES ('price_new', 'BUSINESS', 'month', false);
SELECT is(momento_billing.price_id_to_tier('price_new'), 'BUSINESS', 'a new price');
UPDATE momento_billing.price SET tier = 'PRO' WHERE price_id = 'price_new';
SELECT is(momento_billing.price_id_to_tier('price_new'), 'PRO', 'of another tier');

INSERT INTO momento_billing.feature VALUES ('teleport', 'Téléportation');
SELECT is(momento_billing.quota_remaining('u1', 'teleport'), 0::bigint, 'a new feature is known, and in no plan');
DELETE FROM momento_billing.feature WHERE feature = 'teleport';
SELECT throws_ok($$SELECT momento_billing.quota_remaining('u1', 'teleport')$$, '22023', NULL, 'and gone again');

UPDATE momento_billing.tier SET is_default = false WHERE is_default;
SELECT throws_ok($$SELECT momento_billing.effective_tier('u2')$$, '55000', NULL, 'no default tier');
UPDATE momento_billing.tier SET is_default = true WHERE tier = 'PRO';
SELECT is(momento_billing.effective_tier('u2'), 'PRO', 'another default tier');
UPDATE momento_billing.tier SET tier = 'STARTER' WHERE tier = 'BASIC';
SELECT is((SELECT count(*) FROM momento_billing.plan_limit WHERE tier = 'STARTER'), 6::bigint, 'a tier''s new name reaches its limits');
UPDATE momento_billing.tier SET is_default = (tier = 'STARTER');
SELECT is(momento_billing.quota_remaining('u2', 'auto_tags'), 20::bigint, 'and the answers');

-- Changes that the very statement makes which then asks.
CREATE FUNCTION pg_temp.change_and_ask(new_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	UPDATE momento_billing.plan_limit SET monthly_limit = new_limit WHERE tier = 'PRO' AND feature = 'ai_chat';
	RETURN momento_billing.quota_remaining('u1', 'ai_chat');
END
$$;
SELECT is((SELECT array_agg(pg_temp.change_and_ask(n)) FROM generate_series(1, 5) AS n), '{1,2,3,4,5}'::bigint[], 'a change within a statement is seen in it');
CREATE FUNCTION pg_temp.change_and_fail() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	seen bigint;
BEGIN
	BEGIN
		seen := pg_temp.change_and_ask(77);
		RAISE EXCEPTION 'taken back';
	EXCEPTION WHEN raise_exception THEN
		RETURN seen * 1000 + momento_billing.quota_remaining('u1', 'ai_chat');
	END;
END
$$;
SELECT is(pg_temp.change_and_fail(), 77005::bigint, 'and not once it was taken back there');

-- A trigger replaces none of it: ENABLE ALWAYS works in replication too.
SET LOCAL session_replication_role = replica;
UPDATE momento_billing.plan_limit SET monthly_limit = 9 WHERE tier = 'PRO' AND feature = 'ai_chat';
SET LOCAL session_replication_role = origin;
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 9::bigint, 'a change applied by replication is seen');

-- The table of other entitlements is looked at only once it has rows.
INSERT INTO momento_billing.other_access VALUES ('u2', 'subscription', 'sub_x', 'BUSINESS', NULL, NULL);
SELECT is(momento_billing.effective_tier('u2'), 'BUSINESS', 'its first row is seen');
TRUNCATE momento_billing.other_access;
SELECT is(momento_billing.effective_tier('u2'), 'STARTER', 'and that it is empty again');
SELECT * FROM finish();
ROLLBACK;
