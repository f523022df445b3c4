-- reserve_quota(), commit_reservation() and release_reservation().
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up_quotas();
-- The reservations of this test have names.
CREATE TEMP TABLE hold (name text PRIMARY KEY, id bigint);
CREATE FUNCTION pg_temp.reserve(hold text, u text, f text, n bigint DEFAULT 1, ttl interval DEFAULT '5 min') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	SELECT * INTO r FROM momento_billing.reserve_quota(u, f, n, ttl);
	INSERT INTO pg_temp.hold VALUES (hold, r.reservation_id);
	RETURN concat_ws(' ', CASE r.allowed WHEN true THEN 'allowed' WHEN false THEN 'refused' END, r.used || '+' || r.held || '/' || coalesce(r.monthly_limit::text, '-'),
		'left ' || coalesce(r.remaining::text, '-'), CASE WHEN r.unlimited THEN 'unlimited' END, r.tier, r.reason);
END
$$;
CREATE FUNCTION pg_temp.id(hold text) RETURNS bigint LANGUAGE sql AS $$SELECT h.id FROM pg_temp.hold h WHERE h.name = hold$$;
CREATE FUNCTION pg_temp.commit(hold text, actual bigint DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', CASE committed WHEN true THEN 'committed' WHEN false THEN 'not committed' END, amount, used || '+' || held, 'left ' || coalesce(remaining::text, '-'), reason)
	FROM momento_billing.commit_reservation(pg_temp.id(hold), actual)
$$;
CREATE FUNCTION pg_temp.release(hold text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', CASE released WHEN true THEN 'released' WHEN false THEN 'not released' END, used || '+' || held, 'left ' || coalesce(remaining::text, '-'), reason)
	FROM momento_billing.release_reservation(pg_temp.id(hold))
$$;
CREATE FUNCTION pg_temp.time_is_up(hold text) RETURNS void LANGUAGE sql AS $$SELECT fixture.end_reservation(pg_temp.id(hold))$$;
CREATE FUNCTION pg_temp.state(hold text) RETURNS text LANGUAGE sql AS $$SELECT state FROM momento_billing.quota_reservation WHERE id = pg_temp.id(hold)$$;

-- What is refused as an argument.
SELECT matches(fixture.error($$SELECT momento_billing.reserve_quota(NULL, 'ai_chat')$$), '^22023 user_id must not be null or empty', 'an undefined user');
SELECT matches(fixture.error($$SELECT momento_billing.reserve_quota('', 'ai_chat')$$), '^22023 user_id must not be null or empty', 'an empty user');
SELECT matches(fixture.error($$SELECT momento_billing.reserve_quota('big', NULL)$$), '^22023 feature must not be null', 'an undefined feature');
SELECT matches(fixture.error($$SELECT momento_billing.reserve_quota('big', 'teleport')$$), '^22023 unknown feature "teleport" \| The features are: .*ai_chat', 'an unknown feature');
SELECT matches(fixture.error(format($$SELECT momento_billing.reserve_quota('big', 'ai_chat', %L::bigint)$$, n)), '^22023 .*amount', 'amount ' || coalesce(n, 'NULL'))
	FROM unnest('{NULL,0,-1,1000000000001,9223372036854775807}'::text[]) AS n;
SELECT matches(fixture.error(format($$SELECT momento_billing.reserve_quota('big', 'ai_chat', 1, %L)$$, ttl)), '^22023 .*ttl', 'ttl ' || coalesce(ttl, 'NULL'))
	FROM unnest('{NULL,0,-1 s,-1 day,24:00:00.000001,25 hours,1 day 1 s,2 days,1 month,1 month 1 min,-1 month 1 min,-1 day 25 hours,100000 years,-100000 years}'::text[]) AS ttl;
SELECT matches(fixture.error($$SELECT momento_billing.reserve_quota('big', 'ai_chat', idempotency_key => '')$$), '^22023 .*idempotency_key', 'an empty key');
SELECT matches(fixture.error(format('SELECT momento_billing.%s(%L::bigint)', function, id)), '^22023 .*reservation', function || ' ' || coalesce(id, 'NULL'))
	FROM unnest('{commit_reservation,release_reservation}'::text[]) AS function, unnest('{NULL,0,-1,9223372036854775807}'::text[]) AS id;
SELECT is((SELECT count(*) FROM momento_billing.quota_reservation), 0::bigint, 'none of these held anything');

-- The answer.
SELECT results_eq($$SELECT reservation_id IS NOT NULL, allowed, used, held, monthly_limit, remaining, unlimited, resets_at, tier, reason, replayed, expires_at - statement_timestamp()
	FROM momento_billing.reserve_quota('ua', 'semantic_search')$$,
	$$VALUES (true, true, 0::bigint, 1::bigint, 30::bigint, 29::bigint, false, fixture.month(1), 'BASIC', NULL::text, false, interval '5 min')$$, 'one unit for five minutes');
SELECT is(fixture.counters('ua', 'semantic_search'), '0+1', 'is held');
SELECT is((SELECT concat_ws(' ', user_id, feature, period_start = fixture.month(), amount, plan_units, grant_ids, grant_units, state)
	FROM momento_billing.quota_reservation WHERE user_id = 'ua'), 'ua semantic_search t 1 1 {} {} held', 'the reservation');
SELECT is(momento_billing.quota_remaining('ua', 'semantic_search'), 29::bigint, 'what is held cannot be used');
SELECT is((SELECT concat_ws(' ', used, held, remaining) FROM momento_billing.quota_remaining('ua') WHERE feature = 'semantic_search'), '0 1 29', 'as quota_remaining() says');
SELECT is((SELECT expires_at - statement_timestamp() FROM momento_billing.reserve_quota('ua', 'semantic_search', 1, ttl)), ttl, 'ttl ' || ttl)
	FROM unnest('{1 us,1 s,24 hours}'::interval[]) AS ttl;
SELECT is((SELECT expires_at - statement_timestamp() <= interval '24 h' FROM momento_billing.reserve_quota('ua', 'semantic_search', 1, '1 day')), true, 'ttl of a day');

-- Held beside used: all or nothing.
SELECT is(fixture.consume('ub', 'auto_tags', 9), 'allowed 9+0/20 left 11 BASIC', 'nine are used');
SELECT is(pg_temp.reserve('b1', 'ub', 'auto_tags', 6), 'allowed 9+6/20 left 5 BASIC', 'six are held');
SELECT is(pg_temp.reserve('b2', 'ub', 'auto_tags', 6), 'refused 9+6/20 left 5 BASIC limit_reached', 'six more are too many');
SELECT is((SELECT concat_ws(' ', allowed, reservation_id, expires_at, reason) FROM momento_billing.reserve_quota('ub', 'auto_tags', 6)), 'f limit_reached', 'a refusal has neither id nor end');
SELECT is((SELECT count(*) FROM momento_billing.quota_reservation WHERE user_id = 'ub'), 1::bigint, 'nor a row');
SELECT is(fixture.consume('ub', 'auto_tags', 6), 'refused 9+6/20 left 5 BASIC limit_reached', 'nor can they be used');
SELECT is(pg_temp.reserve('b3', 'ub', 'auto_tags', 5), 'allowed 9+11/20 left 0 BASIC', 'five are there');
SELECT is(pg_temp.commit('b1'), 'committed 6 15+5 left 0', 'committed: from held to used');
SELECT is(pg_temp.commit('b1'), 'committed 6 15+5 left 0 already_committed', 'committed before');
SELECT is(pg_temp.commit('b1', 2), 'committed 6 15+5 left 0 already_committed', 'with the first amount');
SELECT is(pg_temp.release('b1'), 'not released 15+5 left 0 already_committed', 'too late to release it');
SELECT is(pg_temp.release('b3'), 'released 15+0 left 5', 'released: back');
SELECT is(pg_temp.release('b3'), 'released 15+0 left 5 already_released', 'released before');
SELECT is(pg_temp.commit('b3'), 'not committed 0 15+0 left 5 already_released', 'too late to commit it');
SELECT is(pg_temp.commit('b3', 1), 'not committed 0 15+0 left 5 already_released', 'or a part');
SELECT is(fixture.counters('ub', 'auto_tags'), '15+0', 'as it is counted');
SELECT is(pg_temp.reserve('b4', 'ub', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'not in the plan');

-- Less than was held.
SELECT is(pg_temp.reserve('c' || n, 'uc', 'auto_tags', 6), format('allowed 0+%s/20 left %s BASIC', 6 * n, 20 - 6 * n), 'held') FROM generate_series(1, 3) AS n;
SELECT is(pg_temp.commit('c1', 4), 'committed 4 4+12 left 4', 'four of six');
SELECT is(pg_temp.commit('c1'), 'committed 4 4+12 left 4 already_committed', 'were four');
SELECT is(pg_temp.commit('c2', 0), 'committed 0 4+6 left 10', 'none of six');
SELECT is(pg_temp.commit('c2', 6), 'committed 0 4+6 left 10 already_committed', 'were none');
SELECT matches(fixture.error(format($$SELECT momento_billing.commit_reservation(pg_temp.id('c3'), %L::bigint)$$, n)), '^22023 .*actual', 'actual ' || n)
	FROM unnest('{-1,7,-9223372036854775808,9223372036854775807}'::text[]) AS n;
SELECT is(pg_temp.commit('c3', 6), 'committed 6 10+0 left 10', 'all of six');
SELECT is((SELECT string_agg(amount::text, ' ' ORDER BY id) FROM momento_billing.quota_reservation WHERE user_id = 'uc'), '4 0 6', 'the rows say how many');

-- Time passes: nothing need have looked.
SELECT is(fixture.consume('ud', 'auto_tags', 5), 'allowed 5+0/20 left 15 BASIC', 'five are used');
SELECT is(pg_temp.reserve('d1', 'ud', 'auto_tags', 15), 'allowed 5+15/20 left 0 BASIC', 'fifteen are held');
SELECT pg_temp.time_is_up('d1');
SELECT is(momento_billing.quota_remaining('ud', 'auto_tags'), 15::bigint, 'they are free again');
SELECT is((SELECT concat_ws(' ', used, held, remaining) FROM momento_billing.quota_remaining('ud') WHERE feature = 'auto_tags'), '5 0 15', 'and not held');
SELECT is(fixture.counters('ud', 'auto_tags'), '5+15', 'whatever the row says');
SELECT is(fixture.consume('ud', 'auto_tags', 16), 'refused 5+0/20 left 15 BASIC limit_reached', 'a refusal says so too');
SELECT is(fixture.counters('ud', 'auto_tags'), '5+15', 'and leaves the row');
SELECT is(fixture.consume('ud', 'auto_tags', 12), 'allowed 17+0/20 left 3 BASIC', 'who comes takes of them');
SELECT is(fixture.counters('ud', 'auto_tags'), '17+0', 'and the row is put right');
SELECT is(pg_temp.state('d1'), 'expired', 'and so is the reservation');
SELECT is(pg_temp.release('d1'), 'not released 17+0 left 3 reservation_expired', 'there is nothing to release');
SELECT is(pg_temp.commit('d1'), 'not committed 0 17+0 left 3 reservation_expired', 'too many to be committed now');
SELECT is(pg_temp.commit('d1', 4), 'not committed 0 17+0 left 3 reservation_expired', 'four are too many too');
SELECT is(pg_temp.commit('d1', 3), 'committed 3 20+0 left 0', 'three are not: like a fresh consume');
SELECT is(pg_temp.commit('d1', 3), 'committed 3 20+0 left 0 already_committed', 'once');
SELECT is(pg_temp.release('d1'), 'not released 20+0 left 0 already_committed', 'and then it is committed');

SELECT is(pg_temp.reserve('e1', 'ue', 'auto_tags', 15), 'allowed 0+15/20 left 5 BASIC', 'held');
SELECT pg_temp.time_is_up('e1');
SELECT is(pg_temp.commit('e1'), 'committed 15 15+0 left 5', 'expired, and committed while there is room');
SELECT is(pg_temp.reserve('e2', 'ue', 'auto_tags', 5), 'allowed 15+5/20 left 0 BASIC', 'held');
SELECT pg_temp.time_is_up('e2');
SELECT is(pg_temp.release('e2'), 'not released 15+0 left 5 reservation_expired', 'expired: not released');
SELECT is(pg_temp.release('e2'), 'not released 15+0 left 5 reservation_expired', 'nor the second time');
SELECT is(pg_temp.commit('e2', 0), 'committed 0 15+0 left 5', 'nothing can always be committed');
SELECT is(pg_temp.reserve('e3', 'ue', 'auto_tags', 5), 'allowed 15+5/20 left 0 BASIC', 'held');
SELECT pg_temp.time_is_up('e3');
SELECT is(pg_temp.reserve('e4', 'ue', 'auto_tags', 5), 'allowed 15+5/20 left 0 BASIC', 'the next one takes the place of one that is over');
SELECT is(pg_temp.commit('e3'), 'not committed 0 15+5 left 0 reservation_expired', 'which has lost it');
SELECT is(pg_temp.commit('e4'), 'committed 5 20+0 left 0', 'to the other');
SELECT is(fixture.counters('ue', 'auto_tags'), '20+0', 'as it is counted');

-- Several, of which some are over.
SELECT is(pg_temp.reserve('f' || n, 'uf', 'auto_tags', n), format('allowed 0+%s/20 left %s BASIC', n * (n + 1) / 2, 20 - n * (n + 1) / 2), 'held') FROM generate_series(1, 5) AS n;
SELECT pg_temp.time_is_up('f' || n) FROM unnest('{1,3,5}'::int[]) AS n;
SELECT is(momento_billing.quota_remaining('uf', 'auto_tags'), 14::bigint, '2 and 4 are held still');
SELECT is(pg_temp.commit('f2'), 'committed 2 2+4 left 14', 'one of them is committed');
SELECT is(pg_temp.release('f4'), 'released 2+0 left 18', 'the other released');
SELECT is(fixture.counters('uf', 'auto_tags'), '2+0', 'as it is counted');
SELECT is((SELECT string_agg(state, ' ' ORDER BY id) FROM momento_billing.quota_reservation WHERE user_id = 'uf'), 'expired committed expired released expired', 'and what became of each');
-- A hold counts before its end, not at it.
CREATE FUNCTION pg_temp.left_at_the_end(hold text, before interval) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	UPDATE momento_billing.quota_reservation SET expires_at = statement_timestamp() + before WHERE id = pg_temp.id(hold);
	RETURN momento_billing.quota_remaining('ug', 'auto_tags');
END
$$;
SELECT is(pg_temp.reserve('g1', 'ug', 'auto_tags', 5), 'allowed 0+5/20 left 15 BASIC', 'held');
SELECT is(pg_temp.left_at_the_end('g1', '1 us'), 15::bigint, 'a microsecond before its end');
SELECT is(pg_temp.left_at_the_end('g1', '0'), 20::bigint, 'at its end');
CREATE FUNCTION pg_temp.used_at_the_end(hold text, before interval) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE momento_billing.quota_reservation SET expires_at = statement_timestamp() + before WHERE id = pg_temp.id(hold);
	RETURN fixture.consume('ug', 'auto_tags', 16);
END
$$;
SELECT is(pg_temp.used_at_the_end('g1', '1 us'), 'refused 0+5/20 left 15 BASIC limit_reached', 'a microsecond before its end it is in the way');
SELECT is(pg_temp.used_at_the_end('g1', '0'), 'allowed 16+0/20 left 4 BASIC', 'at its end it is not');

-- Of the plan and of grants.
SELECT momento_billing.grant_quota('uh', 'brainstorm_create', 3, statement_timestamp() + interval '1 day') AS soon \gset
SELECT momento_billing.grant_quota('uh', 'brainstorm_create', 9) AS ever \gset
SELECT is(pg_temp.reserve('h1', 'uh', 'brainstorm_create', 6), 'allowed 0+1/1 left 7 BASIC', 'held: one of the plan, three and two of grants');
SELECT is(fixture.grants('uh'), '0/3, 7/9', 'a grant''s units are taken off it');
SELECT is((SELECT concat_ws(' ', plan_units, grant_ids = ARRAY[:soon, :ever]::bigint[], grant_units) FROM momento_billing.quota_reservation WHERE id = pg_temp.id('h1')), '1 t {3,2}', 'the reservation knows whose');
SELECT is(pg_temp.release('h1'), 'released 0+0 left 13', 'released');
SELECT is(fixture.grants('uh'), '3/3, 9/9', 'each has its own back');
SELECT is(pg_temp.reserve('h2', 'uh', 'brainstorm_create', 6), 'allowed 0+1/1 left 7 BASIC', 'held again');
SELECT is(pg_temp.commit('h2', 3), 'committed 3 1+0 left 10', 'half of it committed');
SELECT is(fixture.grants('uh'), '1/3, 9/9', 'the units burnt last go back');
SELECT is(pg_temp.reserve('h3', 'uh', 'brainstorm_create', 4), 'allowed 1+0/1 left 6 BASIC', 'of grants alone');
SELECT is(fixture.grants('uh'), '0/3, 6/9', 'one of the first, three of the second');
SELECT pg_temp.time_is_up('h3');
SELECT is(momento_billing.quota_remaining('uh', 'brainstorm_create'), 10::bigint, 'expired: they are free again');
SELECT is(fixture.grants('uh'), '0/3, 6/9', 'whatever the rows say');
SELECT is(fixture.consume('uh', 'brainstorm_create', 11), 'refused 1+0/1 left 10 BASIC limit_reached', 'a refusal says so too');
SELECT is(fixture.grants('uh'), '0/3, 6/9', 'and leaves them');
SELECT is(fixture.consume('uh', 'brainstorm_create', 10), 'allowed 1+0/1 left 0 BASIC', 'all of them are used');
SELECT is(fixture.grants('uh'), '0/3, 0/9', 'up');
SELECT is(pg_temp.commit('h3'), 'not committed 0 1+0 left 0 reservation_expired', 'so the hold has lost them');
SELECT is(pg_temp.release('h3'), 'not released 1+0 left 0 reservation_expired', 'and gives none back');
SELECT is(fixture.grants('uh'), '0/3, 0/9', 'not twice');
SELECT momento_billing.grant_quota('ui', 'ai_chat', 5) AS quota_grant \gset
SELECT is(pg_temp.reserve('i1', 'ui', 'ai_chat', 4), 'allowed 0+0/- left 1 BASIC', 'not in the plan: of a grant');
SELECT is(pg_temp.reserve('i2', 'ui', 'ai_chat', 2), 'refused 0+0/- left 1 BASIC limit_reached', 'which has one left');
SELECT pg_temp.time_is_up('i1');
SELECT is(pg_temp.reserve('i3', 'ui', 'ai_chat', 5), 'allowed 0+0/- left 0 BASIC', 'another, when the first is over');
SELECT is(fixture.grants('ui'), '0/5', 'takes them all');
SELECT is(pg_temp.reserve('i4', 'ui', 'ai_chat'), 'refused 0+0/- left 0 BASIC not_in_plan', 'no grant has units: not in the plan');
SELECT is(pg_temp.commit('i3', 5), 'committed 5 0+0 left 0', 'used counts none of a grant''s');
SELECT is(pg_temp.commit('i1', 1), 'not committed 0 0+0 left 0 reservation_expired', 'the first has lost them');
-- Whatever looks at the account puts it right, and loses nothing on the way.
SELECT momento_billing.grant_quota('uk', 'ai_chat', 5) AS quota_grant \gset
SELECT is(pg_temp.reserve('k1', 'uk', 'ai_chat', 3), 'allowed 0+0/- left 2 BASIC', 'three of a grant');
SELECT is(pg_temp.reserve('k2', 'uk', 'ai_chat'), 'allowed 0+0/- left 1 BASIC', 'and one');
SELECT is(pg_temp.release('k2'), 'released 0+0 left 2', 'which is released');
SELECT pg_temp.time_is_up('k1');
SELECT is(pg_temp.commit('k2'), 'not committed 0 0+0 left 5 already_released', 'too late for the one, and for the three');
SELECT is(momento_billing.quota_remaining('uk', 'ai_chat'), 5::bigint, 'all are there again');
SELECT matches(fixture.error($$SELECT momento_billing.commit_reservation(pg_temp.id('k1'), 4)$$), '^22023 .*actual', 'nor can more be committed than was held, when it is over');
SELECT is(pg_temp.release('k1'), 'not released 0+0 left 5 reservation_expired', 'the three were released by time');
SELECT is(momento_billing.quota_remaining('uk', 'ai_chat'), 5::bigint, 'once');
-- A grant that ends while it is held: the units were promised.
SELECT momento_billing.grant_quota('uj', 'ai_chat', 5) AS quota_grant \gset
SELECT is(pg_temp.reserve('j1', 'uj', 'ai_chat', 4), 'allowed 0+0/- left 1 BASIC', 'held of a grant');
SELECT fixture.end_grant(:quota_grant);
SELECT is(pg_temp.commit('j1', 3), 'committed 3 0+0 left 0', 'that ends meanwhile');
SELECT is(fixture.grants('uj'), '2/5', 'the rest goes back to it');
SELECT is(momento_billing.quota_remaining('uj', 'ai_chat'), 0::bigint, 'and cannot be used');

-- A change of the tier meanwhile does not matter: the units were promised.
SELECT is(fixture.consume('pro', 'auto_tags', 100), 'allowed 100+0/200 left 100 PRO', 'used in PRO');
SELECT is(pg_temp.reserve('p1', 'pro', 'auto_tags', 60), 'allowed 100+60/200 left 40 PRO', 'held in PRO');
SELECT is(pg_temp.reserve('p2', 'pro', 'ai_chat', 60), 'allowed 0+60/100 left 40 PRO', 'and of what BASIC does not have');
SELECT is(pg_temp.reserve('p3', 'pro', 'reformulation', 50), 'allowed 0+50/50 left 0 PRO', 'to be released');
UPDATE public."Subscription" SET status = 'INACTIVE' WHERE "userId" = 'pro';
SELECT is(pg_temp.commit('p1', 50), 'committed 50 150+0 left 0', 'committed after a downgrade');
SELECT is(pg_temp.commit('p2'), 'committed 60 60+0 left 0', 'so is what is not in the plan any more');
SELECT is(pg_temp.release('p3'), 'released 0+0 left 0', 'released after a downgrade');
SELECT is(fixture.consume('pro', 'ai_chat'), 'refused 60+0/- left 0 BASIC not_in_plan', 'a fresh call is refused');
UPDATE public."Subscription" SET status = 'ACTIVE' WHERE "userId" = 'pro';
SELECT is(pg_temp.reserve('p4', 'pro', 'ai_chat', 10), 'allowed 60+10/100 left 30 PRO', 'held in PRO');
SELECT pg_temp.time_is_up('p4');
UPDATE public."Subscription" SET status = 'INACTIVE' WHERE "userId" = 'pro';
SELECT is(pg_temp.commit('p4'), 'not committed 0 60+0 left 0 reservation_expired', 'expired: there is no promise any more');

-- Nor does it that the feature is no longer sold: the units were promised.
SELECT is(pg_temp.reserve('q' || n, 'uq', 'brainstorm_enrich', n), format('allowed 0+%s/20 left %s BASIC', n * (n + 1) / 2, 20 - n * (n + 1) / 2), 'held') FROM generate_series(1, 3) AS n;
SELECT pg_temp.time_is_up('q3');
UPDATE momento_billing.feature SET feature = 'enrich' WHERE feature = 'brainstorm_enrich';
SELECT is(pg_temp.commit('q2'), 'committed 2 2+1 left 0', 'committed under the name that it had');
SELECT is(pg_temp.release('q1'), 'released 2+0 left 0', 'and released');
SELECT is(pg_temp.commit('q3'), 'not committed 0 2+0 left 0 reservation_expired', 'what has expired was not promised');
SELECT is(momento_billing.quota_remaining('uq', 'enrich'), 20::bigint, 'by its new name nothing is used');
DELETE FROM momento_billing.feature WHERE feature = 'enrich';
SELECT is(pg_temp.commit('q2'), 'committed 2 2+0 left 0 already_committed', 'and when it is gone');
-- Unlimited: held and used are counted all the same.
SELECT is(pg_temp.reserve('u1', 'big', 'ai_chat', 1000000000000), 'allowed 0+1000000000000/- left - unlimited ENTERPRISE', 'unlimited');
SELECT is(pg_temp.reserve('u2', 'big', 'ai_chat', 5), 'allowed 0+1000000000005/- left - unlimited ENTERPRISE', 'and more');
SELECT is(pg_temp.commit('u1', 999999999999), 'committed 999999999999 999999999999+5 left -', 'committed');
SELECT is(pg_temp.release('u2'), 'released 999999999999+0 left -', 'released');

-- What a reservation held last month counts there.
SELECT is(fixture.consume('um', 'auto_tags', 3), 'allowed 3+0/20 left 17 BASIC', 'last month');
SELECT is(pg_temp.reserve('m' || n, 'um', 'auto_tags', 4), format('allowed 3+%s/20 left %s BASIC', 4 * n, 17 - 4 * n), 'held last month') FROM generate_series(1, 4) AS n;
SELECT fixture.a_month_passes('um');
SELECT is(momento_billing.quota_remaining('um', 'auto_tags'), 20::bigint, 'this month is new');
SELECT is(fixture.consume('um', 'auto_tags', 2), 'allowed 2+0/20 left 18 BASIC', 'and has two used');
SELECT is(pg_temp.commit('m1'), 'committed 4 7+12 left 1', 'committed: where it was held');
SELECT is(pg_temp.release('m2'), 'released 7+8 left 5', 'and released there');
SELECT is(fixture.counters('um', 'auto_tags'), '7+8, 2+0', 'and nowhere else');
SELECT pg_temp.time_is_up('m3');
SELECT is(pg_temp.commit('m3'), 'committed 4 6+0 left 14', 'expired: committed in this month');
SELECT is(fixture.counters('um', 'auto_tags'), '7+4, 6+0', 'and not held in the other');
SELECT pg_temp.time_is_up('m4');
SELECT matches(pg_temp.release('m4'), '^not released .* reservation_expired$', 'expired: not released');
-- One of last month that is over has nothing to do with what is held in this one.
SELECT is(pg_temp.reserve('o1', 'uo', 'auto_tags', 4), 'allowed 0+4/20 left 16 BASIC', 'held last month');
SELECT fixture.a_month_passes('uo');
SELECT is(pg_temp.reserve('o2', 'uo', 'auto_tags', 5), 'allowed 0+5/20 left 15 BASIC', 'held in this month');
SELECT pg_temp.time_is_up('o1');
SELECT is(momento_billing.quota_remaining('uo', 'auto_tags'), 15::bigint, 'the first is over: the second is held still');
SELECT is(fixture.consume('uo', 'auto_tags', 16), 'refused 0+5/20 left 15 BASIC limit_reached', 'and in the way');
SELECT is(fixture.consume('uo', 'auto_tags', 2), 'allowed 2+5/20 left 13 BASIC', 'beside what is used');
SELECT is(fixture.counters('uo', 'auto_tags'), '0+0, 2+5', 'in each month its own');

-- Only what is used crosses 80 or 100 percent.
SELECT is(pg_temp.reserve('x1', 'ux', 'auto_tags', 20), 'allowed 0+20/20 left 0 BASIC', 'all is held');
SELECT is(fixture.crossed('ux', 'auto_tags'), 'nothing', 'nothing is used');
SELECT is(pg_temp.commit('x1', 16), 'committed 16 16+0 left 4', '16 of 20 are');
SELECT is(fixture.crossed('ux', 'auto_tags'), '80', '80 percent');
SELECT is(pg_temp.reserve('x2', 'ux', 'auto_tags', 4), 'allowed 16+4/20 left 0 BASIC', 'the rest is held');
SELECT is(fixture.crossed('ux', 'auto_tags'), '80', 'still 80');
SELECT is(pg_temp.commit('x2'), 'committed 4 20+0 left 0', 'and used');
SELECT is(fixture.crossed('ux', 'auto_tags'), '80 100', '100 percent');
SELECT is(pg_temp.reserve('x3', 'ux', 'auto_titles', 5), 'allowed 0+5/10 left 5 BASIC', 'five are held');
SELECT is(pg_temp.reserve('x4', 'ux', 'auto_titles', 3), 'allowed 0+8/10 left 2 BASIC', 'and three');
SELECT is(pg_temp.commit('x3'), 'committed 5 5+3 left 2', 'five are used');
UPDATE momento_billing.plan_limit SET monthly_limit = 4 WHERE tier = 'BASIC' AND feature = 'auto_titles';
SELECT is(pg_temp.release('x4'), 'released 5+0 left 0', 'of a limit that is lower now: the others are released');
SELECT is(fixture.crossed('ux', 'auto_titles'), 'nothing', 'which crosses nothing');
UPDATE momento_billing.plan_limit SET monthly_limit = 10 WHERE tier = 'BASIC' AND feature = 'auto_titles';
SELECT is(fixture.consume('ux', 'auto_titles', 3), 'allowed 8+0/10 left 2 BASIC', 'eight of ten are used');
SELECT is(fixture.crossed('ux', 'auto_titles'), '80', '80 percent');

-- In one statement, and in subtransactions.
SELECT results_eq($$SELECT count(DISTINCT reservation_id), count(*) FILTER (WHERE allowed), max(held) FROM generate_series(1, 15) AS g,
	LATERAL momento_billing.reserve_quota('us', 'auto_tags', 2 * sign(g)::bigint)$$, $$VALUES (10::bigint, 10::bigint, 20::bigint)$$, 'fifteen in one statement');
SELECT is((SELECT string_agg((momento_billing.commit_reservation(id, 1)).used::text, ' ') FROM (SELECT id FROM momento_billing.quota_reservation WHERE user_id = 'us' ORDER BY id LIMIT 4) AS r),
	'1 2 3 4', 'four committed in one');
SELECT is(fixture.counters('us', 'auto_tags'), '4+12', 'as it is counted');
SELECT is((SELECT count(*) FROM momento_billing.quota_reservation AS r, LATERAL momento_billing.release_reservation(r.id) AS q WHERE r.user_id = 'us' AND r.state = 'held' AND q.released), 6::bigint, 'six released in one');
SELECT is(fixture.counters('us', 'auto_tags'), '4+0', 'as it is counted then');
SELECT is(pg_temp.reserve('s1', 'ut', 'auto_tags', 5), 'allowed 0+5/20 left 15 BASIC', 'held');
SAVEPOINT a;
SELECT is(pg_temp.commit('s1'), 'committed 5 5+0 left 15', 'committed in a savepoint');
ROLLBACK TO a;
SELECT is(fixture.counters('ut', 'auto_tags'), '0+5', 'rolled back: held again');
SELECT is(pg_temp.release('s1'), 'released 0+0 left 20', 'released in a savepoint');
ROLLBACK TO a;
SELECT is(fixture.counters('ut', 'auto_tags'), '0+5', 'rolled back: held again');
SELECT is(pg_temp.reserve('s2', 'ut', 'auto_tags', 5), 'allowed 0+10/20 left 10 BASIC', 'held in a savepoint');
ROLLBACK TO a;
SELECT is(fixture.counters('ut', 'auto_tags'), '0+5', 'rolled back: not held');
SELECT is(pg_temp.commit('s1', 3), 'committed 3 3+0 left 17', 'and committed for good');

-- The fallback answers alike.
SET LOCAL momento_billing.force_spi = on;
SELECT is(fixture.consume('uv', 'brainstorm_create'), 'allowed 1+0/1 left 0 BASIC', 'fallback: used');
SELECT momento_billing.grant_quota('uv', 'brainstorm_create', 4) AS quota_grant \gset
SELECT is(pg_temp.reserve('v1', 'uv', 'brainstorm_create', 3), 'allowed 1+0/1 left 1 BASIC', 'fallback: held');
SELECT pg_temp.time_is_up('v1');
SELECT is(momento_billing.quota_remaining('uv', 'brainstorm_create'), 4::bigint, 'fallback: expired');
SELECT is(pg_temp.commit('v1', 2), 'committed 2 1+0 left 2', 'fallback: committed');
SELECT is(fixture.grants('uv'), '2/4', 'fallback: of the grant');
SELECT is(pg_temp.reserve('v2', 'uv', 'auto_tags', 3), 'allowed 0+3/20 left 17 BASIC', 'fallback: held of the plan');
SELECT pg_temp.time_is_up('v2');
SELECT is((SELECT concat_ws(' ', used, held, remaining) FROM momento_billing.quota_remaining('uv') WHERE feature = 'auto_tags'), '0 0 20', 'fallback: and not when it is over');
SET LOCAL momento_billing.force_spi = off;

-- One user, however the id is written.
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE int USING NULL;
SELECT is(pg_temp.reserve('w1', '042', 'auto_tags', 5), 'allowed 0+5/20 left 15 BASIC', 'a number');
SELECT is(pg_temp.reserve('w2', '42', 'auto_tags', 5), 'allowed 0+10/20 left 10 BASIC', 'is the same user');
SELECT is(pg_temp.commit('w1'), 'committed 5 5+5 left 10', 'committed');
SELECT is(momento_billing.quota_remaining('0042', 'auto_tags'), 10::bigint, 'and seen');
SELECT matches(fixture.error($$SELECT momento_billing.reserve_quota('abc', 'auto_tags')$$), '^22023 invalid user id "abc"', 'what is no number');
SELECT * FROM finish();
ROLLBACK;
