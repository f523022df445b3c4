-- consume_quota(), and refund_quota() without a key.
--
-- A refusal that writes nothing shows in a transaction of its own only: so
-- the set-up is committed, and dropped at the end whatever has failed before.
\set ON_ERROR_STOP off
SET client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT plan(210);
SELECT fixture.set_up_quotas();
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('3', 'mover', 'BASIC', 'INACTIVE', now());
-- Where the rows of a user are, and who has locked them.
CREATE FUNCTION pg_temp.versions(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', kind, place, born, locked), ', ' ORDER BY kind, place) FROM (
		SELECT 'usage', ctid, xmin, xmax FROM momento_billing.usage WHERE user_id = u
		UNION ALL SELECT 'grant', ctid, xmin, xmax FROM momento_billing.quota_grant WHERE user_id = u
		UNION ALL SELECT 'reservation', ctid, xmin, xmax FROM momento_billing.quota_reservation WHERE user_id = u
		UNION ALL SELECT 'crossing', ctid, xmin, xmax FROM momento_billing.quota_crossing WHERE user_id = u
		UNION ALL SELECT 'request', ctid, xmin, xmax FROM momento_billing.quota_request WHERE user_id = u) AS v (kind, place, born, locked)
$$;
-- How a call answers, and whether its transaction has no id after it.
CREATE FUNCTION pg_temp.refusal(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	EXECUTE call INTO r;
	RETURN concat_ws(' ', r.allowed, r.reason, pg_current_xact_id_if_assigned() IS NULL);
END
$$;
CREATE FUNCTION pg_temp.consume_in_a_loop(times int, u text, f text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		PERFORM momento_billing.consume_quota(u, f);
	END LOOP;
END
$$;

-- A refusal writes nothing: the transaction never gets an id, without which
-- there is no row, no row lock and no change of anything.
SELECT is(fixture.consume('full', 'brainstorm_create'), 'allowed 1+0/1 left 0 BASIC', 'a limit is reached');
SELECT is(fixture.consume('holder', 'brainstorm_expand', 9), 'allowed 9+0/10 left 1 BASIC', 'and another nearly');
SELECT momento_billing.grant_quota('holder', 'brainstorm_expand', 3) AS quota_grant \gset
SELECT reservation_id AS r FROM momento_billing.reserve_quota('holder', 'brainstorm_expand', 2) \gset
SELECT fixture.end_reservation(:r);
SELECT pg_temp.versions('full') AS full_before, pg_temp.versions('holder') AS holder_before \gset

BEGIN;
SELECT allowed, reason FROM momento_billing.consume_quota('full', 'brainstorm_create') \gset
SELECT pg_current_xact_id_if_assigned() IS NULL AS nothing_written \gset
COMMIT;
SELECT is(concat_ws(' ', :'allowed', :'reason', :'nothing_written'), 'f limit_reached t', 'a refusal at the limit writes nothing');
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('nobody', 'ai_chat')$$), 'f not_in_plan t', 'nor one outside the plan');
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('nobody', 'auto_tags', 21)$$), 'f limit_reached t', 'nor of a user without a row');
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('full', 'brainstorm_create', idempotency_key => 'key')$$), 'f limit_reached t', 'nor one with a key');
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.reserve_quota('full', 'brainstorm_create')$$), 'f limit_reached t', 'nor that of a reservation');
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.reserve_quota('full', 'ai_chat', idempotency_key => 'key')$$), 'f not_in_plan t', 'nor with a key');
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('holder', 'brainstorm_expand', 5)$$), 'f limit_reached t', 'nor where a grant does not suffice and a hold has expired');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('full', 'brainstorm_create')$$), 'f limit_reached t', 'nor in REPEATABLE READ');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('full', 'brainstorm_create')$$), 'f limit_reached t', 'nor in SERIALIZABLE');
COMMIT;
BEGIN;
SET LOCAL momento_billing.force_spi = on;
SELECT is(pg_temp.refusal($$SELECT * FROM momento_billing.consume_quota('full', 'brainstorm_create')$$), 'f limit_reached t', 'nor by the fallback');
COMMIT;
CREATE FUNCTION pg_temp.wal_records(call text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, WAL, FORMAT JSON) ' || call INTO plan;
	RETURN plan -> 0 -> 'Plan' ->> 'WAL Records';
END
$$;
SELECT is(pg_temp.wal_records($$SELECT * FROM momento_billing.consume_quota('full', 'brainstorm_create')$$), 0::bigint, 'no WAL was written');
SELECT cmp_ok(pg_temp.wal_records($$SELECT * FROM momento_billing.consume_quota('logged', 'brainstorm_create')$$), '>', 0::bigint, 'as what is allowed writes it');
SELECT is(pg_temp.versions('full'), :'full_before', 'no row was touched');
SELECT is(pg_temp.versions('holder'), :'holder_before', 'nor a grant, nor a hold that is over');
SELECT is((SELECT count(*) FROM momento_billing.quota_request), 0::bigint, 'no key was remembered');
SELECT is((SELECT count(*) FROM momento_billing.usage WHERE user_id = 'nobody'), 0::bigint, 'no row was made');
BEGIN;
SELECT allowed FROM momento_billing.consume_quota('writer', 'auto_tags') \gset
SELECT pg_current_xact_id_if_assigned() IS NULL AS nothing_written \gset
ROLLBACK;
SELECT is(concat_ws(' ', :'allowed', :'nothing_written'), 't f', 'one that is allowed writes');
SELECT is(fixture.counters('writer', 'auto_tags'), NULL, 'and is undone with its transaction');
BEGIN READ ONLY;
SELECT is(momento_billing.quota_remaining('writer', 'auto_tags'), 20::bigint, 'in a read-only transaction one can look');
SELECT throws_ok($$SELECT momento_billing.consume_quota('writer', 'auto_tags')$$, '25006', NULL, 'but not use');
ROLLBACK;

-- What an operator adds to the table is kept, and kept right.
SELECT is(fixture.consume('op', 'auto_tags', 2), 'allowed 2+0/20 left 18 BASIC', 'an operator''s table');
BEGIN READ ONLY;
SELECT throws_ok($$SELECT momento_billing.consume_quota('op', 'auto_tags')$$, '25006', NULL, 'read-only where there is a row, too');
ROLLBACK;
SELECT is(fixture.counters('op', 'auto_tags'), '2+0', 'nothing was used');
INSERT INTO momento_billing.usage (user_id, feature, period_start, used) VALUES ('op', 'auto_tags', fixture.month(-1), 1), ('op', 'auto_tags', fixture.month(1), 1);
ALTER TABLE momento_billing.usage ADD note text DEFAULT 'mine';
UPDATE momento_billing.usage SET note = 'yours' WHERE user_id = 'op';
SELECT is(fixture.consume('op', 'auto_tags', 2), 'allowed 4+0/20 left 16 BASIC', 'with a column more');
SELECT is((SELECT note FROM momento_billing.usage WHERE user_id = 'op' AND used = 4), 'yours', 'which stays');
CREATE INDEX usage_used ON momento_billing.usage (used);
SELECT is(fixture.consume('op', 'auto_tags', 2), 'allowed 6+0/20 left 14 BASIC', 'with an index more');
SET enable_seqscan = off;
SELECT is((SELECT string_agg(user_id, ' ') FROM momento_billing.usage WHERE used = 6), 'op', 'which finds the new version');
RESET enable_seqscan;
DROP INDEX momento_billing.usage_used;
CREATE TEMP TABLE did (n int);
CREATE FUNCTION pg_temp.log_usage() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO pg_temp.did VALUES (new.used); RETURN new; END$$;
CREATE TRIGGER log AFTER UPDATE ON momento_billing.usage FOR EACH ROW EXECUTE FUNCTION pg_temp.log_usage();
SELECT is(fixture.consume('op', 'auto_tags', 2), 'allowed 8+0/20 left 12 BASIC', 'with a trigger');
SELECT is((SELECT string_agg(n::text, ' ') FROM did), '8', 'which fires');
DROP TRIGGER log ON momento_billing.usage;
ALTER TABLE momento_billing.usage DROP note;
SELECT is(fixture.consume('op', 'auto_tags', 2), 'allowed 10+0/20 left 10 BASIC', 'and without all that again');
SELECT is(fixture.counters('op', 'auto_tags'), '1+0, 10+0, 1+0', 'other months are what they were');

-- Transactions of all kinds.
DO $$
BEGIN
	FOR i IN 1 .. 6 LOOP
		PERFORM momento_billing.consume_quota('tx', 'auto_tags');
		IF i % 3 = 0 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END
$$;
SELECT is(fixture.counters('tx', 'auto_tags'), '4+0', 'those of a procedure');
SELECT is(current_setting('synchronous_commit'), 'on', 'which leave no setting behind');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(fixture.consume('tx', 'auto_tags'), 'allowed 5+0/20 left 15 BASIC', 'REPEATABLE READ');
SELECT is(fixture.consume('tx', 'auto_tags'), 'allowed 6+0/20 left 14 BASIC', 'REPEATABLE READ: its own');
SELECT is(fixture.consume('tx', 'auto_titles'), 'allowed 1+0/10 left 9 BASIC', 'REPEATABLE READ: a new row');
SELECT is(fixture.consume('tx', 'auto_titles', 10), 'refused 1+0/10 left 9 BASIC limit_reached', 'REPEATABLE READ: refused');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is(fixture.consume('tx', 'auto_titles'), 'allowed 2+0/10 left 8 BASIC', 'SERIALIZABLE');
SELECT is(fixture.refund('tx', 'auto_titles', 2), '2 used 0 left 10', 'SERIALIZABLE: a refund');
SELECT is(fixture.consume('tx', 'auto_titles', 10), 'allowed 10+0/10 left 0 BASIC', 'SERIALIZABLE: all');
COMMIT;
SELECT is(concat_ws(' ', fixture.counters('tx', 'auto_tags'), fixture.counters('tx', 'auto_titles')), '6+0 10+0', 'as they were committed');
BEGIN;
SELECT allowed FROM momento_billing.consume_quota('tx', 'auto_tags', 3) \gset
PREPARE TRANSACTION 'momento_billing_26';
SELECT is(fixture.counters('tx', 'auto_tags'), '6+0', 'a prepared one');
COMMIT PREPARED 'momento_billing_26';
SELECT is(fixture.counters('tx', 'auto_tags'), '9+0', 'when it is committed');

-- From here on one transaction that is rolled back.
BEGIN;

-- What is refused as an argument.
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota(NULL, 'ai_chat')$$), '^22023 user_id must not be null or empty', 'an undefined user');
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('', 'ai_chat')$$), '^22023 user_id must not be null or empty', 'an empty user');
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('big', NULL)$$), '^22023 feature must not be null', 'an undefined feature');
SELECT is(fixture.error($$SELECT momento_billing.consume_quota('big', 'teleport')$$),
	'22023 unknown feature "teleport" | The features are: ' || (SELECT string_agg(feature, ', ') FROM momento_billing.quota_remaining('big')) || '.', 'an unknown feature, and the list');
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('big', '')$$), '^22023 unknown feature ""', 'an empty feature');
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('big', 'AI_CHAT')$$), '^22023 unknown feature "AI_CHAT"', 'in another spelling');
SELECT matches(fixture.error(format($$SELECT momento_billing.consume_quota('big', 'ai_chat', %L::bigint)$$, n)), '^22023 .*amount', 'amount ' || coalesce(n, 'NULL'))
	FROM unnest('{NULL,0,-1,-9223372036854775808,1000000000001,9223372036854775807}'::text[]) AS n;
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('big', 'ai_chat', 1, '')$$), '^22023 .*idempotency_key', 'an empty key');
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('big', 'ai_chat', 1, repeat('x', 256))$$), '^22023 .*idempotency_key', 'a key that is too long');
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('big', 'ai_chat', 1, repeat('é', 128))$$), '^22023 .*idempotency_key', 'in bytes');
SELECT matches(fixture.error($$SELECT momento_billing.refund_quota(NULL, 'ai_chat')$$), '^22023 user_id must not be null or empty', 'refund: an undefined user');
SELECT matches(fixture.error($$SELECT momento_billing.refund_quota('', 'ai_chat')$$), '^22023 user_id must not be null or empty', 'refund: an empty user');
SELECT matches(fixture.error($$SELECT momento_billing.refund_quota('big', NULL)$$), '^22023 feature must not be null', 'refund: an undefined feature');
SELECT matches(fixture.error($$SELECT momento_billing.refund_quota('big', 'teleport')$$), '^22023 unknown feature "teleport" \| The features are: .*ai_chat', 'refund: an unknown feature');
SELECT matches(fixture.error(format($$SELECT momento_billing.refund_quota('big', 'ai_chat', %L::bigint)$$, n)), '^22023 .*amount', 'refund: amount ' || coalesce(n, 'NULL'))
	FROM unnest('{NULL,0,-1,-9223372036854775808,1000000000001,9223372036854775807}'::text[]) AS n;
SELECT is((SELECT count(*) FROM momento_billing.usage WHERE user_id = 'big'), 0::bigint, 'none of these wrote anything');

-- The answer.
SELECT results_eq($$SELECT allowed, used, held, monthly_limit, remaining, unlimited, resets_at, tier, reason, replayed FROM momento_billing.consume_quota('ua', 'semantic_search')$$,
	$$VALUES (true, 1::bigint, 0::bigint, 30::bigint, 29::bigint, false, fixture.month(1), 'BASIC', NULL::text, false)$$, 'one unit, of a user without a row');
SELECT is(fixture.counters('ua', 'semantic_search'), '1+0', 'is counted');
SELECT is((SELECT period_start FROM momento_billing.usage WHERE user_id = 'ua'), fixture.month(), 'in this month');
SELECT is(fixture.consume('ua', 'semantic_search', 28), 'allowed 29+0/30 left 1 BASIC', 'several at once');
SELECT is(fixture.consume('ua', 'semantic_search', 2), 'refused 29+0/30 left 1 BASIC limit_reached', 'all or nothing');
SELECT is(momento_billing.quota_remaining('ua', 'semantic_search'), 1::bigint, 'nothing was taken');
SELECT is(fixture.consume('ua', 'semantic_search'), 'allowed 30+0/30 left 0 BASIC', 'the last one');
SELECT results_eq($$SELECT allowed, used, held, monthly_limit, remaining, unlimited, resets_at, tier, reason, replayed FROM momento_billing.consume_quota('ua', 'semantic_search')$$,
	$$VALUES (false, 30::bigint, 0::bigint, 30::bigint, 0::bigint, false, fixture.month(1), 'BASIC', 'limit_reached', false)$$, 'the state as it is');
SELECT is(fixture.consume('ua', 'auto_tags', 20), 'allowed 20+0/20 left 0 BASIC', 'the whole limit at once');
SELECT is(fixture.consume('ua', 'auto_titles', 11), 'refused 0+0/10 left 10 BASIC limit_reached', 'more than there ever is');
SELECT is(fixture.consume('ua', 'auto_titles', 1000000000000), 'refused 0+0/10 left 10 BASIC limit_reached', 'the greatest amount');
SELECT is(fixture.consume('ub', 'semantic_search'), 'allowed 1+0/30 left 29 BASIC', 'another user has the own counter');
SELECT is((SELECT updated_at BETWEEN now() AND clock_timestamp() FROM momento_billing.usage WHERE user_id = 'ub'), true, 'and the row says when');

-- Not in the plan, or nothing of it; unlimited.
SELECT is(fixture.consume('ua', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'not in the plan');
SELECT results_eq($$SELECT allowed, monthly_limit, remaining, unlimited, reason FROM momento_billing.consume_quota('ua', 'ai_chat')$$,
	$$VALUES (false, NULL::bigint, 0::bigint, false, 'not_in_plan')$$, 'is not unlimited');
SELECT is(fixture.consume('big', 'ai_chat', 5), 'allowed 5+0/- left - unlimited ENTERPRISE', 'unlimited');
SELECT is(fixture.consume('big', 'ai_chat', 1000000000000), 'allowed 1000000000005+0/- left - unlimited ENTERPRISE', 'counts all the same');
SELECT is(momento_billing.quota_remaining('big', 'ai_chat'), NULL, 'and stays so');
SELECT is(fixture.consume('big', 'auto_titles', 2), 'allowed 2+0/- left - unlimited ENTERPRISE', 'what is unlimited');
UPDATE momento_billing.usage SET used = 9223372036854775800 WHERE user_id = 'big' AND feature = 'auto_titles';
SELECT is(fixture.consume('big', 'auto_titles', 8), 'refused 9223372036854775800+0/- left - unlimited ENTERPRISE limit_reached', 'ends where numbers do');
SELECT is(fixture.consume('big', 'auto_titles', 7), 'allowed 9223372036854775807+0/- left - unlimited ENTERPRISE', 'at the greatest');
SELECT is(fixture.consume('big', 'auto_titles'), 'refused 9223372036854775807+0/- left - unlimited ENTERPRISE limit_reached', 'and not after it');
INSERT INTO momento_billing.feature VALUES ('closed', 'in the plan, with nothing');
INSERT INTO momento_billing.plan_limit VALUES ('BASIC', 'closed', 0);
SELECT is(fixture.consume('ua', 'closed'), 'refused 0+0/0 left 0 BASIC limit_reached', 'a limit of 0 is a limit');

-- The limit is that of the tier in effect now.
SELECT is(fixture.consume('mover', 'auto_tags', 20), 'allowed 20+0/20 left 0 BASIC', 'all of BASIC');
UPDATE public."Subscription" SET tier = 'PRO', status = 'ACTIVE' WHERE "userId" = 'mover';
SELECT is(fixture.consume('mover', 'auto_tags'), 'allowed 21+0/200 left 179 PRO', 'an upgrade counts at once, and so does what was used');
SELECT is(fixture.consume('mover', 'ai_chat', 60), 'allowed 60+0/100 left 40 PRO', 'and more is in the plan');
UPDATE public."Subscription" SET tier = 'BASIC' WHERE "userId" = 'mover';
SELECT is(fixture.consume('mover', 'auto_tags'), 'refused 21+0/20 left 0 BASIC limit_reached', 'after a downgrade nothing is left, never less');
SELECT is(fixture.consume('mover', 'ai_chat'), 'refused 60+0/- left 0 BASIC not_in_plan', 'nor in the plan any more');
UPDATE public."Subscription" SET tier = 'BUSINESS' WHERE "userId" = 'mover';
SELECT is(fixture.consume('mover', 'ai_chat'), 'allowed 61+0/1000 left 939 BUSINESS', 'and upwards again');
UPDATE public."Subscription" SET status = 'PAST_DUE', "currentPeriodEnd" = (now() + interval '1 hour') AT TIME ZONE 'UTC' WHERE "userId" = 'mover';
SELECT is(fixture.consume('mover', 'ai_chat'), 'allowed 62+0/1000 left 938 BUSINESS', 'past due, within the period');
UPDATE public."Subscription" SET "currentPeriodEnd" = (now() - interval '1 s') AT TIME ZONE 'UTC' WHERE "userId" = 'mover';
SELECT is(fixture.consume('mover', 'ai_chat'), 'refused 62+0/- left 0 BASIC not_in_plan', 'and after it');
SELECT momento_billing.grant_tier('mover', 'ENTERPRISE') AS tier_grant \gset
SELECT is(fixture.consume('mover', 'ai_chat'), 'allowed 63+0/- left - unlimited ENTERPRISE', 'a tier given by hand');
SELECT momento_billing.revoke_tier_grant(:tier_grant) AS revoked \gset
SELECT is(fixture.consume('mover', 'auto_tags'), 'refused 21+0/20 left 0 BASIC limit_reached', 'and taken away');
UPDATE momento_billing.plan_limit SET monthly_limit = 25 WHERE tier = 'BASIC' AND feature = 'auto_tags';
SELECT is(fixture.consume('mover', 'auto_tags', 4), 'allowed 25+0/25 left 0 BASIC', 'a plan that changes');
UPDATE momento_billing.plan_limit SET monthly_limit = NULL WHERE tier = 'BASIC' AND feature = 'auto_tags';
SELECT is(fixture.consume('mover', 'auto_tags', 4), 'allowed 29+0/- left - unlimited BASIC', 'and becomes unlimited');
UPDATE momento_billing.plan_limit SET monthly_limit = 20 WHERE tier = 'BASIC' AND feature = 'auto_tags';

-- Months do not mix.
INSERT INTO momento_billing.usage (user_id, feature, period_start, used) VALUES
	('months', 'auto_tags', fixture.month(-1), 20), ('months', 'auto_tags', fixture.month(1), 20);
SELECT is(fixture.consume('months', 'auto_tags'), 'allowed 1+0/20 left 19 BASIC', 'neither last month''s usage counts nor next month''s');
SELECT is(fixture.counters('months', 'auto_tags'), '20+0, 1+0, 20+0', 'nor do they change');
UPDATE momento_billing.usage SET used = 3 WHERE user_id = 'months' AND used = 20;
SELECT is(fixture.consume('months', 'auto_tags', 4), 'allowed 5+0/20 left 15 BASIC', 'again');
SELECT is(fixture.counters('months', 'auto_tags'), '3+0, 5+0, 3+0', 'this month''s only');
SELECT results_eq($$SELECT c.used FROM unnest('{2,1,3}'::bigint[]) AS n, LATERAL momento_billing.consume_quota('months', 'auto_tags', n) AS c$$,
	$$VALUES (7::bigint), (8), (11)$$, 'and in one statement');
SELECT is(fixture.counters('months', 'auto_tags'), '3+0, 11+0, 3+0', 'this month''s only');

-- What crosses 80 or 100 percent is noted once, for the worker to tell.
SELECT is(fixture.consume('ux', 'semantic_search', 23), 'allowed 23+0/30 left 7 BASIC', '23 of 30');
SELECT is(fixture.crossed('ux', 'semantic_search'), 'nothing', 'is less than 80 percent');
SELECT is(fixture.consume('ux', 'semantic_search'), 'allowed 24+0/30 left 6 BASIC', '24 of 30');
SELECT is(fixture.crossed('ux', 'semantic_search'), '80', 'is 80 percent');
SELECT is(fixture.consume('ux', 'semantic_search', 5), 'allowed 29+0/30 left 1 BASIC', '29 of 30');
SELECT is(fixture.crossed('ux', 'semantic_search'), '80', 'is no more than that');
SELECT is(fixture.consume('ux', 'semantic_search'), 'allowed 30+0/30 left 0 BASIC', '30 of 30');
SELECT is(fixture.crossed('ux', 'semantic_search'), '80 100', 'is all');
SELECT is(fixture.refund('ux', 'semantic_search', 30), '30 used 0 left 30', 'given back');
SELECT is(fixture.consume('ux', 'semantic_search', 24), 'allowed 24+0/30 left 6 BASIC', 'and used again');
SELECT is(fixture.crossed('ux', 'semantic_search'), '80 100', 'it is not crossed twice');
SELECT is(fixture.consume('uy', 'semantic_search', 30), 'allowed 30+0/30 left 0 BASIC', 'from nothing to all');
SELECT is(fixture.crossed('uy', 'semantic_search'), '100', 'is 100 only');
SELECT is(fixture.consume('uy', 'semantic_search'), 'refused 30+0/30 left 0 BASIC limit_reached', 'a refusal');
SELECT is(fixture.crossed('uy', 'semantic_search'), '100', 'crosses nothing');
SELECT is(fixture.consume('uy', 'brainstorm_create'), 'allowed 1+0/1 left 0 BASIC', 'a limit of 1');
SELECT is(fixture.crossed('uy', 'brainstorm_create'), '100', 'is crossed at once');
SELECT is(fixture.crossed('big', 'ai_chat'), 'nothing', 'what is unlimited is never crossed');
UPDATE momento_billing.plan_limit SET monthly_limit = 7 WHERE tier = 'BASIC' AND feature = 'auto_titles';
SELECT is(fixture.consume('ux', 'auto_titles', 5), 'allowed 5+0/7 left 2 BASIC', '5 of 7');
SELECT is(fixture.crossed('ux', 'auto_titles'), 'nothing', 'is 71 percent');
SELECT is(fixture.consume('ux', 'auto_titles'), 'allowed 6+0/7 left 1 BASIC', '6 of 7');
SELECT is(fixture.crossed('ux', 'auto_titles'), '80', 'is 86');
SELECT is(fixture.consume('pro', 'auto_tags', 100), 'allowed 100+0/200 left 100 PRO', 'half of PRO''s');
UPDATE public."Subscription" SET status = 'INACTIVE' WHERE "userId" = 'pro';
SELECT is(fixture.consume('pro', 'auto_tags'), 'refused 100+0/20 left 0 BASIC limit_reached', 'is more than BASIC has');
SELECT is(fixture.refund('pro', 'auto_tags'), '1 used 99 left 0', 'after a refund still');
SELECT is(fixture.crossed('pro', 'auto_tags'), 'nothing', 'but neither a refusal nor a refund crosses it');
UPDATE public."Subscription" SET status = 'ACTIVE' WHERE "userId" = 'pro';
SELECT is(fixture.consume('pro', 'auto_tags', 61), 'allowed 160+0/200 left 40 PRO', '160 of 200');
SELECT is(fixture.crossed('pro', 'auto_tags'), '80', 'does');

-- refund_quota() without a key.
SELECT is(fixture.consume('ur', 'auto_tags', 12), 'allowed 12+0/20 left 8 BASIC', 'used');
SELECT results_eq($$SELECT refunded, used, remaining FROM momento_billing.refund_quota('ur', 'auto_tags')$$, $$VALUES (1::bigint, 11::bigint, 9::bigint)$$, 'one is given back');
SELECT is(fixture.refund('ur', 'auto_tags', 4), '4 used 7 left 13', 'several');
SELECT is(fixture.refund('ur', 'auto_tags', 8), '7 used 0 left 20', 'never below 0');
SELECT is(fixture.refund('ur', 'auto_tags', 1000000000000), '0 used 0 left 20', 'and then nothing');
SELECT is(fixture.refund('ur', 'semantic_search', 5), '0 used 0 left 30', 'nothing was ever used');
SELECT is(fixture.counters('ur', 'semantic_search'), NULL, 'no row is made of that');
SELECT is(fixture.refund('big', 'ai_chat', 1000000000000), '1000000000000 used 5 left -', 'unlimited');
UPDATE public."Subscription" SET tier = 'BASIC', status = 'INACTIVE' WHERE "userId" = 'mover';
SELECT is(fixture.refund('mover', 'ai_chat', 3), '3 used 60 left 0', 'not in the plan any more');
SELECT is(fixture.refund('months', 'auto_tags', 12), '11 used 0 left 20', 'of this month only');
SELECT is(fixture.counters('months', 'auto_tags'), '3+0, 0+0, 3+0', 'the others stay as they are');
INSERT INTO momento_billing.usage (user_id, feature, period_start, used) VALUES ('before', 'auto_tags', fixture.month(-1), 20);
SELECT is(fixture.refund('before', 'auto_tags', 5), '0 used 0 left 20', 'what was used last month is not given back');
SELECT is(fixture.consume('ur', 'brainstorm_expand', 4), 'allowed 4+0/10 left 6 BASIC', 'beside a hold');
SELECT allowed AS held FROM momento_billing.reserve_quota('ur', 'brainstorm_expand', 3) \gset
SELECT is(fixture.refund('ur', 'brainstorm_expand', 10), '4 used 0 left 7', 'what is held is not given back');
SELECT is(fixture.counters('ur', 'brainstorm_expand'), '0+3', 'nor does it change');
SELECT is(fixture.consume('ur', 'brainstorm_create'), 'allowed 1+0/1 left 0 BASIC', 'the plan''s only one');
SELECT momento_billing.grant_quota('ur', 'brainstorm_create', 5) AS quota_grant \gset
SELECT is(fixture.consume('ur', 'brainstorm_create', 2), 'allowed 1+0/1 left 3 BASIC', 'and two of a grant');
SELECT is(fixture.refund('ur', 'brainstorm_create', 3), '1 used 0 left 4', 'without a key only the plan''s units are given back');
SELECT is(fixture.grants('ur'), '3/5', 'the grant stays as it is');

-- Several calls in one statement: each sees what those before it did.
SELECT results_eq($$SELECT count(*) FILTER (WHERE allowed), count(*) FILTER (WHERE NOT allowed), max(used), min(remaining)
	FROM generate_series(1, 40) AS g, LATERAL momento_billing.consume_quota('series', 'semantic_search', sign(g)::bigint)$$,
	$$VALUES (30::bigint, 10::bigint, 30::bigint, 0::bigint)$$, 'forty in one statement');
SELECT is(fixture.counters('series', 'semantic_search'), '30+0', 'thirty are counted');
SELECT results_eq($$SELECT (momento_billing.consume_quota('series', 'auto_tags', 3)).used FROM generate_series(1, 8)$$,
	$$VALUES (3::bigint), (6), (9), (12), (15), (18), (18), (18)$$, 'in a target list');
SELECT is((SELECT string_agg(fixture.consume(u, 'brainstorm_create'), ', ') FROM unnest('{s1,s2,s1,s2}'::text[]) AS u),
	'allowed 1+0/1 left 0 BASIC, allowed 1+0/1 left 0 BASIC, refused 1+0/1 left 0 BASIC limit_reached, refused 1+0/1 left 0 BASIC limit_reached', 'of two users in turn');
SELECT is((SELECT string_agg(CASE WHEN g % 2 = 1 THEN fixture.consume('s3', 'brainstorm_create') ELSE fixture.refund('s3', 'brainstorm_create') END, ', ')
	FROM generate_series(1, 4) AS g), 'allowed 1+0/1 left 0 BASIC, 1 used 0 left 1, allowed 1+0/1 left 0 BASIC, 1 used 0 left 1', 'with refunds between them');
TRUNCATE did;
WITH done AS (INSERT INTO did SELECT g FROM generate_series(1, 5) AS g WHERE (momento_billing.consume_quota('s4', 'brainstorm_expand', 3)).allowed RETURNING n)
	SELECT count(*) AS done FROM done \gset
SELECT is(:done, 3, 'as a condition of an INSERT');
SELECT is(fixture.counters('s4', 'brainstorm_expand'), '9+0', 'three times three');
SELECT pg_temp.consume_in_a_loop(12, 's6', 'brainstorm_expand');
SELECT is(fixture.counters('s6', 'brainstorm_expand'), '10+0', 'in a loop');
-- So many versions of a row that they go on to other pages.
SELECT pg_temp.consume_in_a_loop(500, 'big', 'semantic_search');
SELECT is(fixture.counters('big', 'semantic_search'), '500+0', 'five hundred statements of one transaction');
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT is(fixture.counters('big', 'semantic_search'), '500+0', 'of which the table and its index say the same');
SET LOCAL enable_indexscan = on;
SET LOCAL enable_bitmapscan = on;
SELECT is(fixture.consume('big', 'semantic_search'), 'allowed 501+0/- left - unlimited ENTERPRISE', 'and one more');
-- A user id that is kept out of line.
SELECT string_agg(md5(n::text), '') AS long_id FROM generate_series(1, 75) AS n \gset
SELECT is(fixture.consume(:'long_id', 'semantic_search'), format('allowed %s+0/30 left %s BASIC', n, 30 - n), 'a user id of 2,400 bytes') FROM generate_series(1, 2) AS n;
SELECT is(fixture.consume(:'long_id', 'semantic_search'), 'allowed 3+0/30 left 27 BASIC', 'again');
SELECT is(fixture.consume(:'long_id', 'semantic_search', 27), 'allowed 30+0/30 left 0 BASIC', 'and again');
SELECT is(fixture.consume(:'long_id', 'semantic_search'), 'refused 30+0/30 left 0 BASIC limit_reached', 'until it is refused');

-- A subtransaction that is rolled back gives its units back.
SAVEPOINT a;
SELECT is(fixture.consume('sub', 'brainstorm_create'), 'allowed 1+0/1 left 0 BASIC', 'in a savepoint');
SAVEPOINT b;
SELECT is(fixture.consume('sub', 'brainstorm_create'), 'refused 1+0/1 left 0 BASIC limit_reached', 'and in one below');
ROLLBACK TO b;
SELECT is(momento_billing.quota_remaining('sub', 'brainstorm_create'), 0::bigint, 'still used');
ROLLBACK TO a;
SELECT is(momento_billing.quota_remaining('sub', 'brainstorm_create'), 1::bigint, 'rolled back: unused');
SELECT is(fixture.consume('sub', 'brainstorm_create'), 'allowed 1+0/1 left 0 BASIC', 'used again');
RELEASE a;
SELECT is(fixture.consume('sub', 'brainstorm_create'), 'refused 1+0/1 left 0 BASIC limit_reached', 'released: used');
SAVEPOINT a;
SELECT is(fixture.refund('sub', 'brainstorm_create'), '1 used 0 left 1', 'a refund');
ROLLBACK TO a;
SELECT is(momento_billing.quota_remaining('sub', 'brainstorm_create'), 0::bigint, 'is undone too');
DO $$
BEGIN
	FOR i IN 1 .. 6 LOOP
		BEGIN
			PERFORM momento_billing.consume_quota('sub', 'auto_titles');
			IF i % 3 = 0 THEN
				RAISE EXCEPTION 'the work failed';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT is(fixture.counters('sub', 'auto_titles'), '4+0', 'with work that fails every third time');
SELECT is(fixture.error($$SELECT fixture.consume('sub', 'auto_tags'), 1 / 0$$), '22012 division by zero', 'a statement that fails after');
SELECT is(fixture.counters('sub', 'auto_tags'), NULL, 'has used nothing');

-- The fallback answers alike.
SET LOCAL momento_billing.force_spi = on;
SELECT is(fixture.consume('spi', 'auto_tags', 19), 'allowed 19+0/20 left 1 BASIC', 'fallback: allowed');
SELECT is(fixture.consume('spi', 'auto_tags', 2), 'refused 19+0/20 left 1 BASIC limit_reached', 'fallback: refused');
SELECT is(fixture.consume('spi', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'fallback: not in the plan');
SELECT is(fixture.consume('big', 'ai_chat'), 'allowed 6+0/- left - unlimited ENTERPRISE', 'fallback: unlimited');
SELECT is(fixture.refund('spi', 'auto_tags', 9), '9 used 10 left 10', 'fallback: given back');
SELECT results_eq($$SELECT count(*) FILTER (WHERE allowed) FROM generate_series(1, 15) AS g, LATERAL momento_billing.consume_quota('spi', 'auto_tags', sign(g)::bigint)$$,
	'VALUES (10::bigint)', 'fallback: several in one statement');
SELECT is(momento_billing.quota_remaining('spi', 'auto_tags'), 0::bigint, 'fallback: and all are seen');
SET LOCAL momento_billing.force_spi = off;
SELECT ok((SELECT bool_and(q.remaining IS NOT DISTINCT FROM momento_billing.quota_remaining(u, q.feature))
	FROM (SELECT DISTINCT user_id FROM momento_billing.usage) AS v (u), momento_billing.quota_remaining(u) AS q), 'all that is said of what is left agrees');
SELECT is((SELECT count(*) FROM momento_billing.quota_request), 0::bigint, 'without a key nothing is remembered');

-- Ids are what the app's column makes of them.
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE bigint USING NULL;
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('42', 42, 'PRO', 'ACTIVE', now());
SELECT is(fixture.consume('042', 'reformulation', 30), 'allowed 30+0/50 left 20 PRO', 'a number with a leading zero');
SELECT is(fixture.consume('42', 'reformulation', 15), 'allowed 45+0/50 left 5 PRO', 'is the same without');
SELECT is(fixture.consume(' +42 ', 'reformulation', 6), 'refused 45+0/50 left 5 PRO limit_reached', 'and with a sign');
SELECT is(fixture.refund('0042', 'reformulation', 10), '10 used 35 left 15', 'so for refunds');
SELECT is((SELECT string_agg(DISTINCT user_id, ', ') FROM momento_billing.usage WHERE feature = 'reformulation'), '42', 'there is one counter');
SELECT is(fixture.consume('007', 'auto_titles'), 'allowed 1+0/7 left 6 BASIC', 'a number without a row');
SELECT is(fixture.counters('7', 'auto_titles'), '1+0', 'is one counter too');
SELECT matches(fixture.error(format('SELECT momento_billing.consume_quota(%L, %L)', u, 'auto_tags')), format('^22023 invalid user id "%s"', u), 'what is no number: ' || u)
	FROM unnest('{abc,4.2,99999999999999999999}'::text[]) AS u;
SELECT matches(fixture.error($$SELECT momento_billing.refund_quota('abc', 'auto_tags')$$), '^22023 invalid user id "abc"', 'refund: what is no number');
ALTER TABLE public."Subscription" ALTER "userId" TYPE uuid USING gen_random_uuid();
SELECT is(fixture.consume('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'auto_tags'), 'allowed 1+0/20 left 19 BASIC', 'a uuid');
SELECT is(fixture.consume('{a0eebc999c0b4ef8bb6d6bb9bd380a11}', 'auto_tags'), 'allowed 2+0/20 left 18 BASIC', 'in another spelling');

-- Before there are plans.
TRUNCATE momento_billing.plan_limit, momento_billing.price, momento_billing.other_access, momento_billing.tier_grant, momento_billing.tier, momento_billing.feature;
SELECT matches(fixture.error($$SELECT momento_billing.consume_quota('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ai_chat')$$), '^55000 .*seed_plans', 'no plans');
SELECT matches(fixture.error($$SELECT momento_billing.refund_quota('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ai_chat')$$), '^55000 .*seed_plans', 'nor for a refund');
SELECT * FROM finish();
ROLLBACK;

DROP EXTENSION momento_billing CASCADE;
DROP SCHEMA fixture CASCADE;
DROP TABLE public."Subscription";
DROP TYPE public."SubscriptionTier", public."SubscriptionStatus";
