-- grant_quota(): extra units, used when the plan's are used up.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES
	('1', 'pro', 'PRO', 'ACTIVE', now()), ('2', 'big', 'ENTERPRISE', 'ACTIVE', now());
CREATE FUNCTION pg_temp.consume(u text, f text, n bigint DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', CASE allowed WHEN true THEN 'allowed' WHEN false THEN 'refused' END, used || '+' || held || '/' || coalesce(monthly_limit::text, '-'),
		'left ' || coalesce(remaining::text, '-'), CASE WHEN unlimited THEN 'unlimited' END, reason)
	FROM momento_billing.consume_quota(u, f, n)
$$;
CREATE FUNCTION pg_temp.grants(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(remaining || '/' || amount, ', ' ORDER BY id) FROM momento_billing.quota_grant WHERE user_id = u
$$;
-- Seconds from now; none: without end.
CREATE FUNCTION pg_temp.give(u text, f text, n bigint, seconds numeric DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT momento_billing.grant_quota(u, f, n, statement_timestamp() + seconds * interval '1 s')
$$;
CREATE FUNCTION pg_temp.end_of(grant_id bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE momento_billing.quota_grant SET expires_at = statement_timestamp() - interval '1 s' WHERE id = grant_id
$$;
CREATE FUNCTION pg_temp.error(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || SQLERRM || coalesce(' | ' || nullif(hint, ''), '');
END
$$;

-- What is refused.
SELECT matches(pg_temp.error($$SELECT momento_billing.grant_quota(NULL, 'ai_chat', 1)$$), '^22023 user_id must not be null or empty', 'an undefined user');
SELECT matches(pg_temp.error($$SELECT momento_billing.grant_quota('', 'ai_chat', 1)$$), '^22023 user_id must not be null or empty', 'an empty user');
SELECT matches(pg_temp.error($$SELECT momento_billing.grant_quota('u', NULL, 1)$$), '^22023 feature must not be null', 'an undefined feature');
SELECT matches(pg_temp.error($$SELECT momento_billing.grant_quota('u', 'teleport', 1)$$), '^22023 unknown feature "teleport" \| The features are: .*ai_chat', 'an unknown feature');
SELECT matches(pg_temp.error(format($$SELECT momento_billing.grant_quota('u', 'ai_chat', %L::bigint)$$, n)), '^22023 .*amount', 'amount ' || coalesce(n, 'NULL'))
	FROM unnest('{NULL,0,-1,1000000000001,9223372036854775807}'::text[]) AS n;
SELECT matches(pg_temp.error(format($$SELECT momento_billing.grant_quota('u', 'ai_chat', 1, %L)$$, t)), '^22023 .*expires_at', 'an end that is past: ' || t)
	FROM unnest('{-infinity,2020-01-01,yesterday}'::text[]) AS t;
SELECT matches(pg_temp.error($$SELECT momento_billing.grant_quota('u', 'ai_chat', 1, statement_timestamp())$$), '^22023 .*expires_at', 'nor now');
SELECT is((SELECT count(*) FROM momento_billing.quota_grant), 0::bigint, 'a refusal writes nothing');

-- The record.
SELECT is(momento_billing.quota_remaining('ua', 'brainstorm_create'), 1::bigint, 'before there is any grant');
SELECT momento_billing.grant_quota('ua', 'brainstorm_create', 5, statement_timestamp() + interval '1 day', 'ticket 7') AS a1 \gset
SELECT is((SELECT concat_ws(' ', user_id, feature, amount, remaining, expires_at > now() + interval '23 h', reason, granted_by = session_user, created_at <= clock_timestamp())
	FROM momento_billing.quota_grant WHERE id = :a1), 'ua brainstorm_create 5 5 t ticket 7 t t', 'says who, what, until when and why');
SELECT momento_billing.grant_quota('ub', 'ai_chat', 1000000000000) AS b1 \gset
SELECT is((SELECT expires_at IS NULL AND reason IS NULL FROM momento_billing.quota_grant WHERE id = :b1), true, 'without end');
SELECT momento_billing.grant_quota('uc', 'ai_chat', 1, 'infinity') AS c1 \gset
SELECT is((SELECT expires_at FROM momento_billing.quota_grant WHERE id = :c1), NULL, 'infinity is the same');
SELECT is(momento_billing.quota_remaining('uc', 'ai_chat'), 1::bigint, 'and can be used');

-- The plan first, then the grant.
SELECT is(momento_billing.quota_remaining('ua', 'brainstorm_create'), 6::bigint, 'one of the plan and five of the grant');
SELECT is((SELECT concat_ws(' ', used, held, monthly_limit, remaining, unlimited, included) FROM momento_billing.quota_remaining('ua') WHERE feature = 'brainstorm_create'), '0 0 1 6 f t', 'as the list says');
SELECT is(momento_billing.quota_remaining('ua', 'ai_chat'), 0::bigint, 'of that feature only');
SELECT is(momento_billing.quota_remaining('ux', 'brainstorm_create'), 1::bigint, 'and of that user');
SELECT is(pg_temp.consume('ua', 'brainstorm_create'), 'allowed 1+0/1 left 5', 'one of the plan');
SELECT is(pg_temp.grants('ua'), '5/5', 'none of the grant');
SELECT is(pg_temp.consume('ua', 'brainstorm_create', 6), 'refused 1+0/1 left 5 limit_reached', 'all or nothing');
SELECT is(pg_temp.consume('ua', 'brainstorm_create', 2), 'allowed 1+0/1 left 3', 'two of the grant: used counts none of them');
SELECT is(pg_temp.grants('ua'), '3/5', 'the grant does');
SELECT is(pg_temp.consume('ua', 'brainstorm_create', 3), 'allowed 1+0/1 left 0', 'the rest');
SELECT is(pg_temp.consume('ua', 'brainstorm_create'), 'refused 1+0/1 left 0 limit_reached', 'and no more');
SELECT is(pg_temp.grants('ua'), '0/5', 'the grant is used up');
SELECT pg_temp.give('ug', 'auto_tags', 5) AS g1 \gset
SELECT is(pg_temp.consume('ug', 'auto_tags', 15), 'allowed 15+0/20 left 10', '15 of 20');
SELECT is(pg_temp.consume('ug', 'auto_tags', 8), 'allowed 20+0/20 left 2', 'and eight more');
SELECT is((SELECT string_agg(percent::text, ' ') FROM momento_billing.quota_crossing WHERE user_id = 'ug' AND NOT notified), '100', 'the plan''s units are used up, grant or not');

-- A feature that is not in the plan.
SELECT momento_billing.grant_quota('ud', 'ai_chat', 3) AS d1 \gset
SELECT is((SELECT concat_ws(' ', used, monthly_limit, remaining, unlimited, included) FROM momento_billing.quota_remaining('ud') WHERE feature = 'ai_chat'), '0 3 f f', 'a grant opens it, beside the plan');
SELECT is(pg_temp.consume('ud', 'ai_chat', 2), 'allowed 0+0/- left 1', 'allowed');
SELECT is(pg_temp.consume('ud', 'ai_chat', 2), 'refused 0+0/- left 1 limit_reached', 'more than is there');
SELECT is(pg_temp.consume('ud', 'ai_chat'), 'allowed 0+0/- left 0', 'the last one');
SELECT is(pg_temp.consume('ud', 'ai_chat'), 'refused 0+0/- left 0 not_in_plan', 'then it is not in the plan');
SELECT is((SELECT count(*) FROM momento_billing.quota_crossing WHERE user_id = 'ud'), 0::bigint, 'where there is no limit nothing is crossed');
SELECT is(pg_temp.consume('ub', 'ai_chat', 1000000000000), 'allowed 0+0/- left 0', 'a great amount');

-- The one that ends first is burnt first; of those that end together, the older.
SELECT pg_temp.give('ue', 'brainstorm_create', 4) AS e1 \gset
SELECT pg_temp.give('ue', 'brainstorm_create', 3, 7200) AS e2 \gset
SELECT pg_temp.give('ue', 'brainstorm_create', 2, 3600) AS e3 \gset
INSERT INTO momento_billing.quota_grant (user_id, feature, amount, remaining, expires_at, granted_by)
	SELECT user_id, feature, 5, 5, expires_at, 'a dump' FROM momento_billing.quota_grant WHERE id = :e3;
SELECT is(pg_temp.consume('ue', 'brainstorm_create', 2), 'allowed 1+0/1 left 13', 'the plan and one');
SELECT is(pg_temp.grants('ue'), '4/4, 3/3, 1/2, 5/5', 'of the older one of two that end first');
SELECT is(pg_temp.consume('ue', 'brainstorm_create', 3), 'allowed 1+0/1 left 10', 'three');
SELECT is(pg_temp.grants('ue'), '4/4, 3/3, 0/2, 3/5', 'of both');
SELECT is(pg_temp.consume('ue', 'brainstorm_create', 5), 'allowed 1+0/1 left 5', 'five');
SELECT is(pg_temp.grants('ue'), '4/4, 1/3, 0/2, 0/5', 'of the next');
SELECT is(pg_temp.consume('ue', 'brainstorm_create', 5), 'allowed 1+0/1 left 0', 'and five');
SELECT is(pg_temp.grants('ue'), '0/4, 0/3, 0/2, 0/5', 'down to the one without end');

-- Until it ends, not at its end.
SELECT pg_temp.give('uf', 'ai_chat', 4, 3600) AS f1 \gset
SELECT pg_temp.give('uf', 'ai_chat', 3, 7200) AS f2 \gset
SELECT is(pg_temp.consume('uf', 'ai_chat'), 'allowed 0+0/- left 6', 'two grants');
SELECT pg_temp.end_of(:f1);
SELECT is(momento_billing.quota_remaining('uf', 'ai_chat'), 3::bigint, 'one has ended');
SELECT is(pg_temp.consume('uf', 'ai_chat', 4), 'refused 0+0/- left 3 limit_reached', 'and counts no more');
SELECT is(pg_temp.consume('uf', 'ai_chat', 2), 'allowed 0+0/- left 1', 'the other does');
SELECT is(pg_temp.grants('uf'), '3/4, 1/3', 'what has ended is not burnt');
SELECT pg_temp.end_of(:f2);
SELECT is(pg_temp.consume('uf', 'ai_chat'), 'refused 0+0/- left 0 not_in_plan', 'both have ended');
CREATE FUNCTION pg_temp.left_at_the_end(grant_id bigint, before interval) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	UPDATE momento_billing.quota_grant SET expires_at = statement_timestamp() + before WHERE id = grant_id;
	RETURN momento_billing.quota_remaining('uf', 'ai_chat');
END
$$;
SELECT is(pg_temp.left_at_the_end(:f1, '1 us'), 3::bigint, 'a microsecond before its end');
SELECT is(pg_temp.left_at_the_end(:f1, '0'), 0::bigint, 'at its end');

-- Beside what the plan is today.
SELECT pg_temp.give('pro', 'auto_tags', 10) AS p1 \gset
SELECT is(pg_temp.consume('pro', 'auto_tags', 150), 'allowed 150+0/200 left 60', 'PRO');
UPDATE public."Subscription" SET status = 'INACTIVE' WHERE "userId" = 'pro';
SELECT is(momento_billing.quota_remaining('pro', 'auto_tags'), 10::bigint, 'a downgrade below what is used leaves the grant');
SELECT is(pg_temp.consume('pro', 'auto_tags', 4), 'allowed 150+0/20 left 6', 'which is burnt');
UPDATE public."Subscription" SET status = 'ACTIVE' WHERE "userId" = 'pro';
SELECT is(pg_temp.consume('pro', 'auto_tags', 4), 'allowed 154+0/200 left 52', 'an upgrade: the plan first again');
SELECT is(pg_temp.grants('pro'), '6/10', 'the grant stays');
SELECT pg_temp.give('big', 'ai_chat', 10) AS u1 \gset
SELECT is(pg_temp.consume('big', 'ai_chat', 50), 'allowed 50+0/- left - unlimited', 'unlimited');
SELECT is(pg_temp.grants('big'), '10/10', 'burns no grant');
UPDATE momento_billing.usage SET period_start = period_start - interval '40 days' WHERE user_id = 'pro';
SELECT is(momento_billing.quota_remaining('pro', 'auto_tags'), 206::bigint, 'what is left of a grant is left next month');

-- Many, in one statement.
SELECT count(pg_temp.give('um', 'ai_chat', g, 3600 + g)) AS given FROM generate_series(1, 60) AS g \gset
SELECT is(pg_temp.consume('um', 'ai_chat', 1829), 'allowed 0+0/- left 1', 'sixty grants at once');
SELECT is((SELECT concat_ws(' ', count(*), min(amount)) FROM momento_billing.quota_grant WHERE user_id = 'um' AND remaining > 0), '1 60', 'the last is burnt last');
SELECT pg_temp.give('un', 'ai_chat', 5) AS n1 \gset
SELECT results_eq($$SELECT count(*) FILTER (WHERE allowed), min(remaining), max(used) FROM generate_series(1, 9) AS g, LATERAL momento_billing.consume_quota('un', 'ai_chat', sign(g)::bigint)$$,
	$$VALUES (5::bigint, 0::bigint, 0::bigint)$$, 'nine calls for five units');
SELECT is(pg_temp.grants('un'), '0/5', 'in one statement');
-- Sums stop at the greatest number.
INSERT INTO momento_billing.quota_grant (user_id, feature, amount, remaining, granted_by)
	SELECT 'uo', 'ai_chat', 9223372036854775807, 9223372036854775807, 'a dump' FROM generate_series(1, 3);
SELECT is(momento_billing.quota_remaining('uo', 'ai_chat'), 9223372036854775807, 'more than can be counted');
SELECT is(pg_temp.consume('uo', 'ai_chat', 1000000000000), 'allowed 0+0/- left 9223372036854775807', 'can be used');

-- Transactions.
SAVEPOINT a;
SELECT pg_temp.give('us', 'ai_chat', 5) AS s1 \gset
SELECT is(pg_temp.consume('us', 'ai_chat', 2), 'allowed 0+0/- left 3', 'in a savepoint');
ROLLBACK TO a;
SELECT is(momento_billing.quota_remaining('us', 'ai_chat'), 0::bigint, 'rolled back: there is none');
SELECT pg_temp.give('us', 'ai_chat', 5) AS s1 \gset
SAVEPOINT a;
SELECT is(pg_temp.consume('us', 'ai_chat', 2), 'allowed 0+0/- left 3', 'used in a savepoint');
ROLLBACK TO a;
SELECT is(pg_temp.grants('us'), '5/5', 'rolled back: unused');
DELETE FROM momento_billing.quota_grant;
SELECT is(momento_billing.quota_remaining('us', 'ai_chat'), 0::bigint, 'all are taken away');
SELECT is(pg_temp.consume('us', 'ai_chat'), 'refused 0+0/- left 0 not_in_plan', 'and none can be used');
SELECT is(momento_billing.quota_remaining('ua', 'auto_tags'), 20::bigint, 'the plan can');
SAVEPOINT a;
SELECT pg_temp.give('us', 'ai_chat', 5) AS s1 \gset
SELECT is(momento_billing.quota_remaining('us', 'ai_chat'), 5::bigint, 'the first one in a savepoint');
ROLLBACK TO a;
SELECT is(momento_billing.quota_remaining('us', 'ai_chat'), 0::bigint, 'rolled back: there is none');

-- The fallback answers alike.
SET LOCAL momento_billing.force_spi = on;
SELECT pg_temp.give('uv', 'brainstorm_create', 4, 3600) AS v1 \gset
SELECT pg_temp.give('uv', 'brainstorm_create', 4) AS v2 \gset
SELECT is(momento_billing.quota_remaining('uv', 'brainstorm_create'), 9::bigint, 'fallback: the plan and two grants');
SELECT is(pg_temp.consume('uv', 'brainstorm_create', 7), 'allowed 1+0/1 left 2', 'fallback: used');
SELECT is(pg_temp.grants('uv'), '0/4, 2/4', 'fallback: in the same order');
SELECT is(pg_temp.consume('uv', 'brainstorm_create', 3), 'refused 1+0/1 left 2 limit_reached', 'fallback: refused');
SELECT pg_temp.end_of(:v2);
SELECT is(pg_temp.consume('uv', 'brainstorm_create'), 'refused 1+0/1 left 0 limit_reached', 'fallback: ended');
SET LOCAL momento_billing.force_spi = off;

-- One user, however the id is written.
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE int USING NULL;
SELECT pg_temp.give('042', 'ai_chat', 5) AS w1 \gset
SELECT is(pg_temp.consume('42', 'ai_chat', 2), 'allowed 0+0/- left 3', 'a number');
SELECT is(pg_temp.grants('42'), '3/5', 'is the same user');
SELECT matches(pg_temp.error($$SELECT momento_billing.grant_quota('abc', 'ai_chat', 1)$$), '^22023 invalid user id "abc"', 'what is no number');
SELECT * FROM finish();
ROLLBACK;
