-- import_redis_usage(): the counters of before.
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up();
-- A month as the keys write it.
CREATE FUNCTION pg_temp.label(n int DEFAULT 0) RETURNS text LANGUAGE sql AS $$SELECT to_char(fixture.month(n) AT TIME ZONE 'UTC', 'YYYY-MM')$$;
CREATE FUNCTION pg_temp.import(u text, f text, value bigint, n int DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$
	SELECT momento_billing.import_redis_usage(format('usage:%s:%s:%s', u, f, pg_temp.label(n)), value)
$$;
CREATE FUNCTION pg_temp.usage(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', feature, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), used || '+' || held), ', ' ORDER BY feature, period_start)
	FROM momento_billing.usage WHERE user_id = u
$$;

-- What is refused.
SELECT matches(fixture.error(format('SELECT momento_billing.import_redis_usage(%L, 1)', key)), '^22023', 'key ' || coalesce('"' || translate(key, chr(10), '_') || '"', 'NULL'))
	FROM unnest(ARRAY[NULL, '', ' ', ':', ':::', 'usage', 'usage:', 'usage:u', 'usage:u:ai_chat', 'usage:u:ai_chat:', 'usage::ai_chat:2026-01', 'usage:ai_chat:2026-01', 'usage:u::2026-01',
		'quota:u:ai_chat:2026-01', 'Usage:u:ai_chat:2026-01', 'xusage:u:ai_chat:2026-01', ' usage:u:ai_chat:2026-01', 'usage :u:ai_chat:2026-01',
		'usage:u:ai_chat:2026-01 ', 'usage:u:ai_chat: 2026-01', 'usage:u:ai_chat:2026-1', 'usage:u:ai_chat:2026-00', 'usage:u:ai_chat:2026-13', 'usage:u:ai_chat:2026-99', 'usage:u:ai_chat:26-01',
		'usage:u:ai_chat:2026-01-01', 'usage:u:ai_chat:2026-01:x', 'usage:u:ai_chat:202601', 'usage:u:ai_chat:2026/01', 'usage:u:ai_chat:2026_01', 'usage:u:ai_chat:-026-01', 'usage:u:ai_chat:+026-01',
		'usage:u:ai_chat:2026-+1', 'usage:u:ai_chat:2026- 1', 'usage:u:ai_chat:2026-0x', 'usage:u:ai_chat:abcd-ef', 'usage:u:ai_chat:20260-01', 'usage:u:ai_chat:2026-01' || chr(10), 'usage:u:ai_chat:٢٠٢٦-01']) AS key;
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:teleport:2026-01', 1)$$), '^22023 unknown feature "teleport" \| The features are: .*ai_chat', 'an unknown feature');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:AI_CHAT:2026-01', 1)$$), '^22023 unknown feature "AI_CHAT"', 'or in another spelling');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:ai_chat:2026-01', -1)$$), '^22023 .*value', 'a negative value');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:ai_chat:2026-01', -9223372036854775807)$$), '^22023 .*value', 'a very negative one');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:ai_chat:2026-01', 1000000000000001)$$), '^22023 .*value', 'an absurd one');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:ai_chat:2026-01', 9223372036854775807)$$), '^22023 .*value', 'an even more absurd one');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:u:ai_chat:2026-01', NULL)$$), '^22023 .*value', 'no value');
SELECT is((SELECT count(*) FROM momento_billing.usage), 0::bigint, 'a refusal writes nothing');

-- The greater value is kept.
SELECT is(pg_temp.import('ua', 'auto_tags', 7), 7::bigint, 'a counter');
SELECT is(momento_billing.quota_remaining('ua', 'auto_tags'), 13::bigint, 'is taken over');
SELECT is(pg_temp.import('ua', 'auto_tags', 7), 7::bigint, 'once more');
SELECT ctid AS place FROM momento_billing.usage WHERE user_id = 'ua' \gset
SELECT is(pg_temp.import('ua', 'auto_tags', 5), 7::bigint, 'a smaller one changes nothing');
SELECT is(pg_temp.import('ua', 'auto_tags', 7), 7::bigint, 'nor does the same');
SELECT is((SELECT concat_ws(' ', ctid, xmax) FROM momento_billing.usage WHERE user_id = 'ua'), :'place' || ' 0', 'the row is as it was, and not locked');
SELECT is(pg_temp.import('ua', 'auto_tags', 0), 7::bigint, 'nor does none');
SELECT is(pg_temp.import('ua', 'auto_tags', 9), 9::bigint, 'a greater one is kept');
SELECT is((SELECT used FROM momento_billing.consume_quota('ua', 'auto_tags', 3)), 12::bigint, 'and counted on');
SELECT is(pg_temp.import('ua', 'auto_tags', 10), 12::bigint, 'what has been used since is not forgotten');
SELECT allowed AS held FROM momento_billing.reserve_quota('ua', 'auto_tags', 4) \gset
SELECT is(pg_temp.import('ua', 'auto_tags', 15), 15::bigint, 'beside a hold');
SELECT is(pg_temp.usage('ua'), format('auto_tags %s-01 00:00:00.000 15+4', pg_temp.label()), 'which stays');
SELECT is(pg_temp.import('ua', 'auto_titles', 25), 25::bigint, 'more than the limit');
SELECT is(momento_billing.quota_remaining('ua', 'auto_titles'), 0::bigint, 'leaves nothing');
SELECT is(pg_temp.import('ua', 'ai_chat', 3), 3::bigint, 'a feature that is not in the plan');
SELECT is(pg_temp.import('ub', 'ai_chat', 0), 0::bigint, 'a counter of 0');
SELECT is(pg_temp.import('ub', 'semantic_search', 1000000000000000), 1000000000000000, 'the greatest number');
SELECT is((SELECT concat_ws(' ', allowed, used, remaining) FROM momento_billing.consume_quota('ub', 'semantic_search')), 'f 1000000000000000 0', 'leaves nothing');
SELECT results_eq($$SELECT momento_billing.import_redis_usage('usage:uc:auto_tags:' || pg_temp.label(), n) FROM unnest('{3,1,4,1,5}'::bigint[]) AS n$$,
	$$VALUES (3::bigint), (3), (4), (4), (5)$$, 'one counter five times in one statement');

-- Other months.
SELECT is(pg_temp.import('ud', 'auto_tags', 18, -1), 18::bigint, 'last month');
SELECT is(pg_temp.import('ud', 'auto_tags', 17, -12), 17::bigint, 'last year');
SELECT is(momento_billing.import_redis_usage('usage:ud:auto_tags:2024-02', 16), 16::bigint, 'a leap month');
SELECT is(momento_billing.import_redis_usage('usage:ud:auto_tags:1999-12', 15), 15::bigint, 'long ago');
SELECT is(momento_billing.quota_remaining('ud', 'auto_tags'), 20::bigint, 'do not count now');
SELECT is(pg_temp.usage('ud'), format('auto_tags 1999-12-01 00:00:00.000 15+0, auto_tags 2024-02-01 00:00:00.000 16+0, auto_tags %s-01 00:00:00.000 17+0, auto_tags %s-01 00:00:00.000 18+0',
	pg_temp.label(-12), pg_temp.label(-1)), 'but are there');
SET LOCAL timezone = 'Pacific/Kiritimati';
SELECT is(momento_billing.import_redis_usage('usage:ue:auto_tags:2024-03', 4), 4::bigint, 'in the furthest east');
SELECT is(pg_temp.import('ue', 'auto_tags', 4), 4::bigint, 'this month too');
SET LOCAL timezone = 'America/New_York';
SELECT is(momento_billing.import_redis_usage('usage:ue:auto_tags:2024-03', 5), 5::bigint, 'where the clocks change in March');
SELECT is(pg_temp.import('ue', 'auto_tags', 5), 5::bigint, 'this month too');
SET LOCAL timezone = 'UTC';
SELECT is(pg_temp.usage('ue'), format('auto_tags 2024-03-01 00:00:00.000 5+0, auto_tags %s-01 00:00:00.000 5+0', pg_temp.label()), 'the months are UTC''s');

-- Users of all kinds: the feature and the month are the end of the key.
SELECT is(pg_temp.import(u, 'auto_tags', 2), 2::bigint, 'user ' || u) FROM unnest(ARRAY['a:b', 'usage:x', ':', 'a::', 'x:ai_chat:2026-01', 'ünï cöde 🔑', '''"\%', 'a' || repeat('b', 300)]) AS u;
SELECT is(momento_billing.quota_remaining(u, 'auto_tags'), 18::bigint, 'is that user') FROM unnest(ARRAY['a:b', 'usage:x', ':', 'a::', 'x:ai_chat:2026-01', 'ünï cöde 🔑', '''"\%', 'a' || repeat('b', 300)]) AS u;

-- Nobody is told.
SELECT is(pg_temp.import('un', 'auto_tags', 16), 16::bigint, '80 percent');
SELECT is(fixture.crossed('un'), 'nothing', 'are not told');
SELECT is((SELECT used FROM momento_billing.consume_quota('un', 'auto_tags')), 17::bigint, 'one more');
SELECT is(fixture.crossed('un'), 'nothing', 'is no news either');
SELECT is((SELECT used FROM momento_billing.consume_quota('un', 'auto_tags', 3)), 20::bigint, 'but all of it');
SELECT is(fixture.crossed('un'), '100', 'is');
SELECT is(pg_temp.import('um', 'auto_tags', 3), 3::bigint, 'little');
SELECT is(pg_temp.import('um', 'auto_tags', 17), 17::bigint, 'and then 80 percent');
SELECT is(fixture.crossed('um'), 'nothing', 'are not told');
SELECT is(pg_temp.import('uo', 'auto_tags', 20), 20::bigint, '100 percent');
SELECT is(fixture.crossed('uo'), 'nothing', 'are not told');

SELECT is((SELECT string_agg(percent::text, ' ' ORDER BY percent) FROM momento_billing.quota_crossing WHERE user_id = 'uo' AND notified), '80 100', 'as if they had been');
-- By the subscription's months the current one goes to the month that it is now.
SET LOCAL momento_billing.quota_period = 'billing';
INSERT INTO public."Subscription" (id, "userId", tier, status, "currentPeriodStart", "currentPeriodEnd", "updatedAt") VALUES
	('1', 'ba', 'PRO', 'ACTIVE', date_trunc('second', now() AT TIME ZONE 'UTC') - interval '10 days', date_trunc('second', now() AT TIME ZONE 'UTC') - interval '10 days' + interval '1 month', now());
SELECT is(pg_temp.import('ba', 'ai_chat', 40), 40::bigint, 'this month''s');
SELECT is((SELECT period_start AT TIME ZONE 'UTC' FROM momento_billing.usage WHERE user_id = 'ba'), (SELECT "currentPeriodStart"::timestamp FROM public."Subscription" WHERE "userId" = 'ba'), 'goes to the subscription''s');
SELECT is(momento_billing.quota_remaining('ba', 'ai_chat'), 60::bigint, 'and counts');
SELECT is(pg_temp.import('ba', 'ai_chat', 30), 40::bigint, 'the greater one');
SELECT is(pg_temp.import('ba', 'reformulation', 30, -1), 30::bigint, 'last month''s');
SELECT is((SELECT period_start FROM momento_billing.usage WHERE user_id = 'ba' AND feature = 'reformulation'), fixture.month(-1), 'goes to the calendar''s');
SELECT is(pg_temp.import('bb', 'auto_tags', 8), 8::bigint, 'of a user without a subscription');
SELECT is((SELECT period_start FROM momento_billing.usage WHERE user_id = 'bb'), fixture.month(), 'it is the calendar''s');
SET LOCAL momento_billing.quota_period = 'calendar';

-- Undone with its transaction; by the fallback; for one user, however the id is written.
SAVEPOINT a;
SELECT is(pg_temp.import('us', 'auto_tags', 8), 8::bigint, 'in a savepoint');
ROLLBACK TO a;
SELECT is(momento_billing.quota_remaining('us', 'auto_tags'), 20::bigint, 'rolled back');
SET LOCAL momento_billing.force_spi = on;
SELECT is(pg_temp.import('us', 'auto_tags', 8), 8::bigint, 'fallback: a counter');
SELECT is(pg_temp.import('us', 'auto_tags', 6), 8::bigint, 'fallback: the greater one');
SET LOCAL momento_billing.force_spi = off;
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE int USING NULL;
SELECT is(pg_temp.import('042', 'auto_tags', 8), 8::bigint, 'a number');
SELECT is(pg_temp.import('42', 'auto_tags', 7), 8::bigint, 'is one user');
SELECT is(momento_billing.quota_remaining('42', 'auto_tags'), 12::bigint, 'whose counter it is');
SELECT matches(fixture.error($$SELECT momento_billing.import_redis_usage('usage:abc:ai_chat:2026-01', 1)$$), '^22023 invalid user id "abc"', 'what is no number');
SELECT * FROM finish();
ROLLBACK;
