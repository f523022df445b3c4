-- grant_quota(): extra units, used when the plan's are used up.
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up_quotas();
-- Seconds from now; none: without end.
CREATE FUNCTION pg_temp.give(u text, f text, n bigint, seconds numeric DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
	SELECT momento_billing.grant_quota(u, f, n, statement_timestamp() + seconds * interval '1 s')
$$;

-- What is refused.
SELECT matches(fixture.error($$SELECT momento_billing.grant_quota(NULL, 'ai_chat', 1)$$), '^22023 user_id must not be null or empty', 'an undefined user');
SELECT matches(fixture.error($$SELECT momento_billing.grant_quota('', 'ai_chat', 1)$$), '^22023 user_id must not be null or empty', 'an empty user');
SELECT matches(fixture.error($$SELECT momento_billing.grant_quota('u', NULL, 1)$$), '^22023 feature must not be null', 'an undefined feature');
SELECT matches(fixture.error($$SELECT momento_billing.grant_quota('u', 'teleport', 1)$$), '^22023 unknown feature "teleport" \| The features are: .*ai_chat', 'an unknown feature');
SELECT matches(fixture.error(format($$SELECT momento_billing.grant_quota('u', 'ai_chat', %L::bigint)$$, n)), '^22023 .*amount', 'amount ' || coalesce(n, 'NULL'))
	FROM unnest('{NULL,0,-1,1000000000001,9223372036854775807}'::text[]) AS n;
SELECT matches(fixture.error(format($$SELECT momento_billing.grant_quota('u', 'ai_chat', 1, %L)$$, t)), '^22023 .*expires_at', 'an end that is past: ' || t)
	FROM unnest('{-infinity,2020-01-01,yesterday}'::text[]) AS t;
SELECT matches(fixture.error($$SELECT momento_billing.grant_quota('u', 'ai_chat', 1, statement_timestamp())$$), '^22023 .*expires_at', 'nor now');
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
SELECT is(fixture.consume('ua', 'brainstorm_create'), 'allowed 1+0/1 left 5 BASIC', 'one of the plan');
SELECT is(fixture.grants('ua'), '5/5', 'none of the grant');
SELECT is(fixture.consume('ua', 'brainstorm_create', 6), 'refused 1+0/1 left 5 BASIC limit_reached', 'all or nothing');
SELECT is(fixture.consume('ua', 'brainstorm_create', 2), 'allowed 1+0/1 left 3 BASIC', 'two of the grant: used counts none of them');
SELECT is(fixture.grants('ua'), '3/5', 'the grant does');
SELECT is(fixture.consume('ua', 'brainstorm_create', 3), 'allowed 1+0/1 left 0 BASIC', 'the rest');
SELECT is(fixture.consume('ua', 'brainstorm_create'), 'refused 1+0/1 left 0 BASIC limit_reached', 'and no more');
SELECT is(fixture.grants('ua'), '0/5', 'the grant is used up');
SELECT pg_temp.give('ug', 'auto_tags', 5) AS g1 \gset
SELECT is(fixture.consume('ug', 'auto_tags', 15), 'allowed 15+0/20 left 10 BASIC', '15 of 20');
SELECT is(fixture.consume('ug', 'auto_tags', 8), 'allowed 20+0/20 left 2 BASIC', 'and eight more');
SELECT is(fixture.crossed('ug'), '100', 'the plan''s units are used up, grant or not');

-- A feature that is not in the plan.
SELECT momento_billing.grant_quota('ud', 'ai_chat', 3) AS d1 \gset
SELECT is((SELECT concat_ws(' ', used, monthly_limit, remaining, unlimited, included) FROM momento_billing.quota_remaining('ud') WHERE feature = 'ai_chat'), '0 3 f f', 'a grant opens it, beside the plan');
SELECT is(fixture.consume('ud', 'ai_chat', 2), 'allowed 0+0/- left 1 BASIC', 'allowed');
SELECT is(fixture.consume('ud', 'ai_chat', 2), 'refused 0+0/- left 1 BASIC limit_reached', 'more than is there');
SELECT is(fixture.consume('ud', 'ai_chat'), 'allowed 0+0/- left 0 BASIC', 'the last one');
SELECT is(fixture.consume('ud', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'then it is not in the plan');
SELECT is((SELECT count(*) FROM momento_billing.quota_crossing WHERE user_id = 'ud'), 0::bigint, 'where there is no limit nothing is crossed');
SELECT is(fixture.consume('ub', 'ai_chat', 1000000000000), 'allowed 0+0/- left 0 BASIC', 'a great amount');

-- The one that ends first is burnt first; of those that end together, the older.
SELECT pg_temp.give('ue', 'brainstorm_create', 4) AS e1 \gset
SELECT pg_temp.give('ue', 'brainstorm_create', 3, 7200) AS e2 \gset
SELECT pg_temp.give('ue', 'brainstorm_create', 2, 3600) AS e3 \gset
INSERT INTO momento_billing.quota_grant (user_id, feature, amount, remaining, expires_at, granted_by)
	SELECT user_id, feature, 5, 5, expires_at, 'a dump' FROM momento_billing.quota_grant WHERE id = :e3;
SELECT is(fixture.consume('ue', 'brainstorm_create', 2), 'allowed 1+0/1 left 13 BASIC', 'the plan and one');
SELECT is(fixture.grants('ue'), '4/4, 3/3, 1/2, 5/5', 'of the older one of two that end first');
SELECT is(fixture.consume('ue', 'brainstorm_create', 3), 'allowed 1+0/1 left 10 BASIC', 'three');
SELECT is(fixture.grants('ue'), '4/4, 3/3, 0/2, 3/5', 'of both');
SELECT is(fixture.consume('ue', 'brainstorm_create', 5), 'allowed 1+0/1 left 5 BASIC', 'five');
SELECT is(fixture.grants('ue'), '4/4, 1/3, 0/2, 0/5', 'of the next');
SELECT is(fixture.consume('ue', 'brainstorm_create', 5), 'allowed 1+0/1 left 0 BASIC', 'and five');
SELECT is(fixture.grants('ue'), '0/4, 0/3, 0/2, 0/5', 'down to the one without end');

-- Until it ends, not at its end.
SELECT pg_temp.give('uf', 'ai_chat', 4, 3600) AS f1 \gset
SELECT pg_temp.give('uf', 'ai_chat', 3, 7200) AS f2 \gset
SELECT is(fixture.consume('uf', 'ai_chat'), 'allowed 0+0/- left 6 BASIC', 'two grants');
SELECT fixture.end_grant(:f1);
SELECT is(momento_billing.quota_remaining('uf', 'ai_chat'), 3::bigint, 'one has ended');
SELECT is(fixture.consume('uf', 'ai_chat', 4), 'refused 0+0/- left 3 BASIC limit_reached', 'and counts no more');
SELECT is(fixture.consume('uf', 'ai_chat', 2), 'allowed 0+0/- left 1 BASIC', 'the other does');
SELECT is(fixture.grants('uf'), '3/4, 1/3', 'what has ended is not burnt');
SELECT fixture.end_grant(:f2);
SELECT is(fixture.consume('uf', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'both have ended');
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
SELECT is(fixture.consume('pro', 'auto_tags', 150), 'allowed 150+0/200 left 60 PRO', 'PRO');
UPDATE public."Subscription" SET status = 'INACTIVE' WHERE "userId" = 'pro';
SELECT is(momento_billing.quota_remaining('pro', 'auto_tags'), 10::bigint, 'a downgrade below what is used leaves the grant');
SELECT is(fixture.consume('pro', 'auto_tags', 4), 'allowed 150+0/20 left 6 BASIC', 'which is burnt');
UPDATE public."Subscription" SET status = 'ACTIVE' WHERE "userId" = 'pro';
SELECT is(fixture.consume('pro', 'auto_tags', 4), 'allowed 154+0/200 left 52 PRO', 'an upgrade: the plan first again');
SELECT is(fixture.grants('pro'), '6/10', 'the grant stays');
SELECT pg_temp.give('big', 'ai_chat', 10) AS u1 \gset
SELECT is(fixture.consume('big', 'ai_chat', 50), 'allowed 50+0/- left - unlimited ENTERPRISE', 'unlimited');
SELECT is(fixture.grants('big'), '10/10', 'burns no grant');
UPDATE momento_billing.usage SET period_start = period_start - interval '40 days' WHERE user_id = 'pro';
SELECT is(momento_billing.quota_remaining('pro', 'auto_tags'), 206::bigint, 'what is left of a grant is left next month');

-- Many, in one statement.
SELECT count(pg_temp.give('um', 'ai_chat', g, 3600 + g)) AS given FROM generate_series(1, 60) AS g \gset
SELECT is(fixture.consume('um', 'ai_chat', 1829), 'allowed 0+0/- left 1 BASIC', 'sixty grants at once');
SELECT is((SELECT concat_ws(' ', count(*), min(amount)) FROM momento_billing.quota_grant WHERE user_id = 'um' AND remaining > 0), '1 60', 'the last is burnt last');
SELECT pg_temp.give('un', 'ai_chat', 5) AS n1 \gset
SELECT results_eq($$SELECT count(*) FILTER (WHERE allowed), min(remaining), max(used) FROM generate_series(1, 9) AS g, LATERAL momento_billing.consume_quota('un', 'ai_chat', sign(g)::bigint)$$,
	$$VALUES (5::bigint, 0::bigint, 0::bigint)$$, 'nine calls for five units');
SELECT is(fixture.grants('un'), '0/5', 'in one statement');
-- Sums stop at the greatest number.
INSERT INTO momento_billing.quota_grant (user_id, feature, amount, remaining, granted_by)
	SELECT 'uo', 'ai_chat', 9223372036854775807, 9223372036854775807, 'a dump' FROM generate_series(1, 3);
SELECT is(momento_billing.quota_remaining('uo', 'ai_chat'), 9223372036854775807, 'more than can be counted');
SELECT is(fixture.consume('uo', 'ai_chat', 1000000000000), 'allowed 0+0/- left 9223372036854775807 BASIC', 'can be used');

-- Transactions.
SAVEPOINT a;
SELECT pg_temp.give('us', 'ai_chat', 5) AS s1 \gset
SELECT is(fixture.consume('us', 'ai_chat', 2), 'allowed 0+0/- left 3 BASIC', 'in a savepoint');
ROLLBACK TO a;
SELECT is(momento_billing.quota_remaining('us', 'ai_chat'), 0::bigint, 'rolled back: there is none');
SELECT pg_temp.give('us', 'ai_chat', 5) AS s1 \gset
SAVEPOINT a;
SELECT is(fixture.consume('us', 'ai_chat', 2), 'allowed 0+0/- left 3 BASIC', 'used in a savepoint');
ROLLBACK TO a;
SELECT is(fixture.grants('us'), '5/5', 'rolled back: unused');
DELETE FROM momento_billing.quota_grant;
SELECT is(momento_billing.quota_remaining('us', 'ai_chat'), 0::bigint, 'all are taken away');
SELECT is(fixture.consume('us', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'and none can be used');
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
SELECT is(fixture.consume('uv', 'brainstorm_create', 7), 'allowed 1+0/1 left 2 BASIC', 'fallback: used');
SELECT is(fixture.grants('uv'), '0/4, 2/4', 'fallback: in the same order');
SELECT is(fixture.consume('uv', 'brainstorm_create', 3), 'refused 1+0/1 left 2 BASIC limit_reached', 'fallback: refused');
SELECT fixture.end_grant(:v2);
SELECT is(fixture.consume('uv', 'brainstorm_create'), 'refused 1+0/1 left 0 BASIC limit_reached', 'fallback: ended');
SET LOCAL momento_billing.force_spi = off;

-- A gift to many does not load the catalogue anew for each of them.
SELECT count(momento_billing.grant_quota('many_' || n, 'ai_chat', 1)) AS given FROM generate_series(1, 200) AS n \gset
SELECT is(:given, 200, '200 grants in a statement');
SELECT current_setting('server_version_num')::int >= 140000 AS contexts_can_be_seen \gset
\if :contexts_can_be_seen
SELECT cmp_ok(count(*), '<', 20::bigint, 'keep no 200 catalogues') FROM pg_backend_memory_contexts WHERE name = 'mb catalog';
\endif
SAVEPOINT gone;
DELETE FROM momento_billing.quota_grant;
SELECT is(momento_billing.quota_remaining('many_7', 'ai_chat'), 0::bigint, 'all grants deleted: seen at once');
ROLLBACK TO gone;
SELECT is(momento_billing.quota_remaining('many_7', 'ai_chat'), 1::bigint, 'rolled back: seen at once');
DELETE FROM momento_billing.quota_grant;
INSERT INTO momento_billing.quota_grant (user_id, feature, amount, remaining, granted_by) SELECT 'none', 'ai_chat', 1, 1, '' WHERE false;
SELECT is(momento_billing.quota_remaining('next', 'ai_chat'), 0::bigint, 'an INSERT of no row');
SELECT isnt(momento_billing.grant_quota('next', 'ai_chat', 2), NULL, 'and then one of a row');
SELECT is(momento_billing.quota_remaining('next', 'ai_chat'), 2::bigint, 'is seen at once');

-- One user, however the id is written.
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE int USING NULL;
SELECT pg_temp.give('042', 'ai_chat', 5) AS w1 \gset
SELECT is(fixture.consume('42', 'ai_chat', 2), 'allowed 0+0/- left 3 BASIC', 'a number');
SELECT is(fixture.grants('42'), '3/5', 'is the same user');
SELECT matches(fixture.error($$SELECT momento_billing.grant_quota('abc', 'ai_chat', 1)$$), '^22023 invalid user id "abc"', 'what is no number');
SELECT * FROM finish();
ROLLBACK;
