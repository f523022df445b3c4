-- The same key again: the first answer, and one effect; and what refund_quota() gives back by a key.
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up_quotas();

-- The first answer again.
SELECT is(fixture.consume('ua', 'semantic_search', 4, 'k1'), 'allowed 4+0/30 left 26 BASIC', 'the first call');
SELECT is(fixture.consume('ua', 'semantic_search', 4, 'k1'), 'allowed 4+0/30 left 26 BASIC replayed', 'the same key: the same answer');
SELECT is(fixture.counters('ua', 'semantic_search'), '4+0', 'and one effect');
SELECT results_eq($$SELECT allowed, used, held, monthly_limit, remaining, unlimited, resets_at, tier, reason, replayed FROM momento_billing.consume_quota('ua', 'semantic_search', 4, 'k1')$$,
	$$VALUES (true, 4::bigint, 0::bigint, 30::bigint, 26::bigint, false, fixture.month(1), 'BASIC', NULL::text, true)$$, 'in every column');
SELECT is(fixture.consume('ua', 'semantic_search', 4, 'k2'), 'allowed 8+0/30 left 22 BASIC', 'another key: another effect');
SELECT is(fixture.consume('ua', 'semantic_search', 4), 'allowed 12+0/30 left 18 BASIC', 'without a key: another effect');
SELECT is(fixture.consume('ua', 'semantic_search', 4, 'k1'), 'allowed 4+0/30 left 26 BASIC replayed', 'still the first answer');
SELECT is(fixture.consume('ub', 'semantic_search', 4, 'k1'), 'allowed 4+0/30 left 26 BASIC', 'another user''s key is another');
SELECT is(fixture.consume('big', 'ai_chat', 4, 'k1'), 'allowed 4+0/- left - unlimited ENTERPRISE', 'unlimited');
SELECT is(fixture.consume('big', 'ai_chat', 4, 'k1'), 'allowed 4+0/- left - unlimited ENTERPRISE replayed', 'unlimited, again');
SELECT is((SELECT monthly_limit IS NULL AND remaining IS NULL AND unlimited FROM momento_billing.quota_request WHERE user_id = 'big'), true, 'as it is recorded');
SELECT momento_billing.grant_quota('ue', 'ai_chat', 5) AS quota_grant \gset
SELECT is(fixture.consume('ue', 'ai_chat', 2, 'k1'), 'allowed 0+0/- left 3 BASIC', 'of a grant alone');
SELECT is(fixture.consume('ue', 'ai_chat', 2, 'k1'), 'allowed 0+0/- left 3 BASIC replayed', 'of a grant alone, again');
SELECT is(fixture.grants('ue'), '3/5', 'one effect');
SELECT results_eq($$SELECT replayed, used FROM generate_series(1, 3) AS g, LATERAL momento_billing.consume_quota('uc', 'auto_tags', 2 * sign(g)::bigint, 'k')$$,
	$$VALUES (false, 2::bigint), (true, 2), (true, 2)$$, 'three times in one statement');
SELECT is(fixture.counters('uc', 'auto_tags'), '2+0', 'one effect');
SELECT is((SELECT string_agg(fixture.consume('uc', 'auto_titles', 1, key), ', ') FROM unnest('{x,y,x}'::text[]) AS key),
	'allowed 1+0/10 left 9 BASIC, allowed 2+0/10 left 8 BASIC, allowed 1+0/10 left 9 BASIC replayed', 'two keys in one statement');
SELECT momento_billing.grant_tier('ua', 'PRO') AS tier_grant \gset
SELECT is(fixture.consume('ua', 'semantic_search', 4, 'k1'), 'allowed 4+0/30 left 26 BASIC replayed', 'the first answer names the first tier');
SELECT is(fixture.consume('ua', 'semantic_search', 88, 'k3'), 'allowed 100+0/100 left 0 PRO', 'all is used');
SELECT is(fixture.consume('ua', 'semantic_search', 88, 'k3'), 'allowed 100+0/100 left 0 PRO replayed', 'a replay asks for no unit');
SELECT fixture.a_month_passes('ua');
SELECT is(fixture.consume('ua', 'semantic_search', 88, 'k3'), 'allowed 100+0/100 left 0 PRO replayed', 'nor a month later');
SELECT is(momento_billing.quota_remaining('ua', 'semantic_search'), 100::bigint, 'and uses nothing of the new one');

-- The same key with other arguments.
SELECT throws_ok($$SELECT momento_billing.consume_quota('ub', 'semantic_search', 5, 'k1')$$, '22023', NULL, 'another amount');
SELECT throws_ok($$SELECT momento_billing.consume_quota('ub', 'auto_tags', 4, 'k1')$$, '22023', NULL, 'another feature');
SELECT throws_ok($$SELECT momento_billing.reserve_quota('ub', 'semantic_search', 4, idempotency_key => 'k1')$$, '22023', NULL, 'another function');
SELECT throws_matching($$SELECT momento_billing.consume_quota('ub', 'semantic_search', 5, 'k1')$$, 'idempotency.key', 'the message says what is wrong');
SELECT is(fixture.counters('ub', 'semantic_search'), '4+0', 'nothing is used by these');
SELECT is(fixture.consume('ub', 'auto_tags', 1, 'k4'), 'allowed 1+0/20 left 19 BASIC', 'an amount of 1');
SELECT is((SELECT replayed FROM momento_billing.consume_quota('ub', 'auto_tags', idempotency_key => 'k4')), true, 'is the default');
SELECT is((SELECT count(*) FROM momento_billing.quota_request WHERE user_id = 'ub'), 2::bigint, 'one row for each key');

-- A key may be any text of 1 to 255 bytes.
SELECT is(fixture.consume('uk', 'auto_tags', 1, key), format('allowed %s+0/20 left %s BASIC', n, 20 - n), 'a key of ' || octet_length(key) || ' bytes')
	FROM unnest(ARRAY[repeat('x', 255), repeat('é', 127), ' ', '''"\%;--', 'Ключ 🔑']) WITH ORDINALITY AS k (key, n);
SELECT is((SELECT count(*) FROM unnest(ARRAY[repeat('x', 255), repeat('é', 127), ' ', '''"\%;--', 'Ключ 🔑']) AS key
	WHERE (momento_billing.consume_quota('uk', 'auto_tags', 1, key)).replayed), 5::bigint, 'and is known again');
SELECT is(fixture.consume('uk', 'auto_tags', 1, 'K'), 'allowed 6+0/20 left 14 BASIC', 'upper case');
SELECT is(fixture.consume('uk', 'auto_tags', 1, 'k'), 'allowed 7+0/20 left 13 BASIC', 'is not lower case');
SELECT is(fixture.consume('uk', 'auto_tags', 1, 'k '), 'allowed 8+0/20 left 12 BASIC', 'nor is a blank nothing');
SELECT throws_ok(format('SELECT momento_billing.%s(%L, %L, 1, idempotency_key => %L)', function, 'uk', 'auto_tags', key), '22023', NULL, function || ': a key of ' || octet_length(key) || ' bytes')
	FROM unnest('{consume_quota,refund_quota,reserve_quota}'::text[]) AS function, unnest(ARRAY['', repeat('x', 256), repeat('é', 128)]) AS key;

-- Refusals are not remembered.
SELECT is(fixture.consume('un', 'ai_chat', 3, 'k'), 'refused 0+0/- left 0 BASIC not_in_plan', 'refused');
SELECT is(fixture.consume('un', 'ai_chat', 3, 'k'), 'refused 0+0/- left 0 BASIC not_in_plan', 'refused again, and not as a replay');
SELECT is((SELECT count(*) FROM momento_billing.quota_request WHERE user_id = 'un'), 0::bigint, 'nothing is remembered');
SELECT is(fixture.consume('un', 'auto_tags', 21, 'k'), 'refused 0+0/20 left 20 BASIC limit_reached', 'so the key is free for other arguments');
SELECT is(fixture.refund('un', 'ai_chat', 3, 'k'), '0 used 0 left 0', 'and there is nothing to give back');
SELECT momento_billing.grant_tier('un', 'PRO') AS tier_grant \gset
SELECT is(fixture.consume('un', 'ai_chat', 3, 'k'), 'allowed 3+0/100 left 97 PRO', 'and may succeed later');
SELECT is(fixture.consume('un', 'ai_chat', 3, 'k'), 'allowed 3+0/100 left 97 PRO replayed', 'which is remembered');

-- A subtransaction that is rolled back takes its keys with it.
SAVEPOINT a;
SELECT is(fixture.consume('us', 'auto_tags', 3, 'k'), 'allowed 3+0/20 left 17 BASIC', 'in a savepoint');
ROLLBACK TO a;
SELECT is(fixture.consume('us', 'auto_tags', 5, 'k'), 'allowed 5+0/20 left 15 BASIC', 'the key is free again');
SAVEPOINT a;
SELECT is(fixture.refund('us', 'auto_tags', 2, 'k'), '2 used 3 left 17', 'a refund in a savepoint');
ROLLBACK TO a;
SELECT is(fixture.refund('us', 'auto_tags', 5, 'k'), '5 used 0 left 20', 'is forgotten');

-- refund_quota() by the key of consume_quota(): so many units in all.
SELECT is(fixture.consume('ur', 'auto_tags', 2), 'allowed 2+0/20 left 18 BASIC', 'some');
SELECT is(fixture.consume('ur', 'auto_tags', 10, 'k'), 'allowed 12+0/20 left 8 BASIC', 'and ten with a key');
SELECT results_eq($$SELECT refunded, used, remaining FROM momento_billing.refund_quota('ur', 'auto_tags', 4, 'k')$$, $$VALUES (4::bigint, 8::bigint, 12::bigint)$$, 'four of them');
SELECT is(fixture.refund('ur', 'auto_tags', 4, 'k'), '0 used 8 left 12', 'the same call again gives nothing more');
SELECT is(fixture.refund('ur', 'auto_tags', 3, 'k'), '0 used 8 left 12', 'nor does a smaller one');
SELECT is(fixture.refund('ur', 'auto_tags', 7, 'k'), '3 used 5 left 15', 'seven in all');
SELECT is(fixture.refund('ur', 'auto_tags', 1000000000000, 'k'), '3 used 2 left 18', 'all of them');
SELECT is(fixture.refund('ur', 'auto_tags', 1000000000000, 'k'), '0 used 2 left 18', 'are no more than there were');
SELECT is(fixture.consume('ur', 'auto_tags', 10, 'k'), 'allowed 12+0/20 left 8 BASIC replayed', 'a replay after that still has the first answer');
SELECT is(fixture.counters('ur', 'auto_tags'), '2+0', 'and uses nothing');
SELECT results_eq($$SELECT (momento_billing.refund_quota('uc', 'auto_tags', 2, 'k')).refunded FROM generate_series(1, 3)$$, $$VALUES (2::bigint), (0), (0)$$, 'three times in one statement');
SELECT is(fixture.refund('ur', 'auto_tags', 1, 'unknown'), '0 used 2 left 18', 'an unknown key gives nothing back');
SELECT is(fixture.refund('stranger', 'auto_tags', 1, 'k'), '0 used 0 left 20', 'nor does another user''s');
SELECT is(fixture.counters('stranger', 'auto_tags'), NULL, 'and makes no row');
SELECT throws_ok($$SELECT momento_billing.refund_quota('ur', 'ai_chat', 1, 'k')$$, '22023', NULL, 'the key of another feature''s');
SELECT is(fixture.refund('big', 'ai_chat', 3, 'k1'), '3 used 1 left -', 'unlimited');
SELECT is(fixture.consume('pro', 'ai_chat', 50, 'k'), 'allowed 50+0/100 left 50 PRO', 'used in a tier');
UPDATE public."Subscription" SET tier = 'BASIC' WHERE "userId" = 'pro';
SELECT is(fixture.refund('pro', 'ai_chat', 20, 'k'), '20 used 30 left 0', 'given back in another: what is left is by today''s limit');
UPDATE public."Subscription" SET tier = 'BUSINESS' WHERE "userId" = 'pro';
SELECT is(fixture.refund('pro', 'ai_chat', 30, 'k'), '10 used 20 left 980', 'upwards too');
-- Beside refunds without a key nothing goes below 0.
SELECT is(fixture.consume('um', 'auto_tags', 6, 'k'), 'allowed 6+0/20 left 14 BASIC', 'six');
SELECT is(fixture.refund('um', 'auto_tags', 6), '6 used 0 left 20', 'given back without the key');
SELECT is(fixture.refund('um', 'auto_tags', 6, 'k'), '0 used 0 left 20', 'and with it: never below 0');
SELECT is(fixture.consume('um', 'auto_tags', 4), 'allowed 4+0/20 left 16 BASIC', 'four others');
SELECT is(fixture.refund('um', 'auto_tags', 6, 'k'), '0 used 4 left 16', 'are not given back in their place');

-- Into the period that they were taken from.
SELECT is(fixture.consume('up', 'auto_tags', 8, 'k'), 'allowed 8+0/20 left 12 BASIC', 'eight');
SELECT fixture.a_month_passes('up');
SELECT is(fixture.consume('up', 'auto_tags', 5), 'allowed 5+0/20 left 15 BASIC', 'five in the next month');
SELECT is(fixture.refund('up', 'auto_tags', 6, 'k'), '6 used 2 left 18', 'the answer is of the month that they go back to');
SELECT is(fixture.counters('up', 'auto_tags'), '2+0, 5+0', 'and of that only');
SELECT is(fixture.refund('up', 'auto_tags', 6, 'k'), '0 used 2 left 18', 'again: of the same month');
SELECT is(fixture.refund('up', 'auto_tags', 8), '5 used 0 left 20', 'without a key it is the current one');
SELECT is(fixture.counters('up', 'auto_tags'), '2+0, 0+0', 'and not the one before');

-- To the grants that they came from, those burnt last first.
SELECT momento_billing.grant_quota('ug', 'brainstorm_create', 3, statement_timestamp() + interval '1 day') AS soon \gset
SELECT momento_billing.grant_quota('ug', 'brainstorm_create', 9) AS ever \gset
SELECT is(fixture.consume('ug', 'brainstorm_create', 6, 'k'), 'allowed 1+0/1 left 7 BASIC', 'one of the plan, three and two of grants');
SELECT is(fixture.grants('ug'), '0/3, 7/9', 'the one that ends first is burnt first');
SELECT is(fixture.refund('ug', 'brainstorm_create', 1, 'k'), '1 used 1 left 8', 'one back');
SELECT is(fixture.grants('ug'), '0/3, 8/9', 'to the grant burnt last');
SELECT is(fixture.refund('ug', 'brainstorm_create', 3, 'k'), '2 used 1 left 10', 'three in all');
SELECT is(fixture.grants('ug'), '1/3, 9/9', 'to the one before');
SELECT is(fixture.refund('ug', 'brainstorm_create', 100, 'k'), '3 used 0 left 13', 'all');
SELECT is(fixture.grants('ug'), '3/3, 9/9', 'and the plan at the end');
SELECT is(fixture.counters('ug', 'brainstorm_create'), '0+0', 'which has its own back');
SELECT is(fixture.consume('ug', 'brainstorm_create', 6, 'k'), 'allowed 1+0/1 left 7 BASIC replayed', 'the first answer still');
SELECT is(fixture.consume('ug', 'brainstorm_create', 4, 'k2'), 'allowed 1+0/1 left 9 BASIC', 'used again');
SELECT fixture.end_grant(:soon);
SELECT is(fixture.refund('ug', 'brainstorm_create', 4, 'k2'), '4 used 0 left 10', 'a grant that has ended since');
SELECT is(fixture.grants('ug'), '3/3, 9/9', 'has them back');
SELECT is(momento_billing.quota_remaining('ug', 'brainstorm_create'), 10::bigint, 'but they cannot be used');
SELECT is(fixture.consume('ug', 'brainstorm_create', 4, 'k3'), 'allowed 1+0/1 left 6 BASIC', 'used of the other');
DELETE FROM momento_billing.quota_grant WHERE id = :ever;
SELECT matches(fixture.refund('ug', 'brainstorm_create', 4, 'k3'), ' used 0 left 1$', 'a grant that is gone has nothing back, the plan has');
SELECT is(fixture.grants('ug'), '3/3', 'and no other grant has');

-- reserve_quota() with a key.
SELECT reservation_id AS r, expires_at AS until FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, '10 min', 'k') \gset
SELECT results_eq($$SELECT reservation_id, allowed, used, held, monthly_limit, remaining, unlimited, resets_at, tier, reason, replayed, expires_at
	FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, '10 min', 'k')$$,
	format('VALUES (%s::bigint, true, 0::bigint, 6::bigint, 20::bigint, 14::bigint, false, fixture.month(1), %L, NULL::text, true, %L::timestamptz)', :'r', 'BASIC', :'until'),
	'the same reservation, as it was answered');
SELECT is((SELECT count(*) FROM momento_billing.quota_reservation WHERE user_id = 'uh'), 1::bigint, 'there is one');
SELECT is(fixture.counters('uh', 'auto_tags'), '0+6', 'and one effect');
SELECT is((SELECT replayed FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, '600 s', 'k')), true, 'the same time in other words');
SELECT throws_ok($$SELECT momento_billing.reserve_quota('uh', 'auto_tags', 6, '11 min', 'k')$$, '22023', NULL, 'another ttl');
SELECT throws_ok($$SELECT momento_billing.reserve_quota('uh', 'auto_tags', 5, '10 min', 'k')$$, '22023', NULL, 'another amount');
SELECT throws_ok($$SELECT momento_billing.reserve_quota('uh', 'ai_chat', 6, '10 min', 'k')$$, '22023', NULL, 'another feature');
SELECT throws_ok($$SELECT momento_billing.consume_quota('uh', 'auto_tags', 6, 'k')$$, '22023', NULL, 'another function');
SELECT is(fixture.refund('uh', 'auto_tags', 6, 'k'), '0 used 0 left 14', 'what is only held is not given back by refund_quota()');
SELECT is(fixture.counters('uh', 'auto_tags'), '0+6', 'and stays held');
SELECT ok(committed, 'committed') FROM momento_billing.commit_reservation(:r, 5);
SELECT is((SELECT concat_ws(' ', allowed, used, held, remaining, replayed) FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, '10 min', 'k')), 't 0 6 14 t', 'the first answer still');
SELECT throws_ok($$SELECT momento_billing.refund_quota('uh', 'ai_chat', 1, 'k')$$, '22023', NULL, 'the key of another feature''s reservation');
SELECT is(fixture.refund('uh', 'auto_tags', 2, 'k'), '2 used 3 left 17', 'two of the five that were committed');
SELECT is(fixture.refund('uh', 'auto_tags', 2, 'k'), '0 used 3 left 17', 'once');
SELECT is(fixture.refund('uh', 'auto_tags', 6, 'k'), '3 used 0 left 20', 'and no more than five');
SELECT is((SELECT concat_ws(' ', committed, amount, reason) FROM momento_billing.commit_reservation(:r)), 't 5 already_committed', 'it was committed all the same');
SELECT reservation_id AS r FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, idempotency_key => 'k2') \gset
SELECT is((SELECT replayed FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, '5 min', 'k2')), true, 'five minutes are the default');
SELECT ok(released, 'released') FROM momento_billing.release_reservation(:r);
SELECT is(fixture.refund('uh', 'auto_tags', 6, 'k2'), '0 used 0 left 20', 'what was released cannot be given back');
SELECT is((SELECT reservation_id FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, idempotency_key => 'k2')), :r::bigint, 'the key still names the released one');
SELECT reservation_id AS r FROM momento_billing.reserve_quota('uh', 'auto_tags', 6, idempotency_key => 'k3') \gset
SELECT fixture.end_reservation(:r);
SELECT is(fixture.refund('uh', 'auto_tags', 6, 'k3'), '0 used 0 left 20', 'nor what has expired');
SELECT is((SELECT concat_ws(' ', committed, amount, used, held, remaining) FROM momento_billing.commit_reservation(:r, 4)), 't 4 4 0 16', 'committed after all');
SELECT is(fixture.refund('uh', 'auto_tags', 6, 'k3'), '4 used 0 left 20', 'and given back');
SELECT is((SELECT concat_ws(' ', allowed, reservation_id, reason, replayed) FROM momento_billing.reserve_quota('uh', 'ai_chat', idempotency_key => 'k4')), 'f not_in_plan f', 'a refused reservation');
SELECT is((SELECT count(*) FROM momento_billing.quota_request WHERE user_id = 'uh' AND idempotency_key = 'k4'), 0::bigint, 'is not remembered');
-- Into the month, and to the grants, of the reservation.
SELECT momento_billing.grant_quota('uq', 'brainstorm_create', 5) AS quota_grant \gset
SELECT reservation_id AS r FROM momento_billing.reserve_quota('uq', 'brainstorm_create', 4, idempotency_key => 'k') \gset
SELECT fixture.a_month_passes('uq');
SELECT is((SELECT concat_ws(' ', committed, amount, used, held) FROM momento_billing.commit_reservation(:r)), 't 4 1 0', 'a reservation of last month, with a grant''s units');
SELECT is(fixture.counters('uq', 'brainstorm_create'), '1+0', 'counts there');
SELECT is(fixture.refund('uq', 'brainstorm_create', 2, 'k'), '2 used 1 left 4', 'two back');
SELECT is(fixture.grants('uq'), '4/5', 'to the grant');
SELECT is(fixture.refund('uq', 'brainstorm_create', 4, 'k'), '2 used 0 left 6', 'and two');
SELECT is(concat_ws(' ', fixture.counters('uq', 'brainstorm_create'), fixture.grants('uq')), '0+0 5/5', 'to the grant and to that month');
SELECT is(momento_billing.quota_remaining('uq', 'brainstorm_create'), 6::bigint, 'this month is untouched');
SELECT is(fixture.refund('uq', 'brainstorm_create', 4, 'k'), '0 used 0 left 6', 'again: nothing');
SELECT reservation_id AS r FROM momento_billing.reserve_quota('ut', 'auto_tags', 9, idempotency_key => 'k') \gset
SELECT fixture.a_month_passes('ut');
SELECT is(fixture.consume('ut', 'auto_tags', 2), 'allowed 2+0/20 left 18 BASIC', 'two in this month');
SELECT fixture.end_reservation(:r);
SELECT is((SELECT concat_ws(' ', committed, amount, used, held) FROM momento_billing.commit_reservation(:r, 7)), 't 7 9 0', 'and seven of a reservation of last month that had expired');
SELECT is(fixture.refund('ut', 'auto_tags', 5, 'k'), '5 used 4 left 16', 'are given back in this month');
SELECT is(fixture.counters('ut', 'auto_tags'), '0+0, 4+0', 'where they were used');
-- A feature that is no longer sold, by the name that it had.
SELECT is(fixture.consume('uo', 'brainstorm_enrich', 5, 'k'), 'allowed 5+0/20 left 15 BASIC', 'used');
UPDATE momento_billing.feature SET feature = 'enrich' WHERE feature = 'brainstorm_enrich';
SELECT is(fixture.refund('uo', 'brainstorm_enrich', 2, 'k'), '2 used 3 left 0', 'given back by its key');
SELECT is(fixture.refund('uo', 'brainstorm_enrich', 5, 'k'), '3 used 0 left 0', 'to the last unit');
SELECT throws_ok($$SELECT momento_billing.refund_quota('uo', 'brainstorm_enrich', 1)$$, '22023', 'unknown feature "brainstorm_enrich"', 'without a key it is unknown');
SELECT throws_ok($$SELECT momento_billing.refund_quota('uo', 'brainstorm_enrich', 1, 'other')$$, '22023', 'unknown feature "brainstorm_enrich"', 'and with an unknown one');
SELECT throws_ok($$SELECT momento_billing.consume_quota('uo', 'brainstorm_enrich', 5, 'k2')$$, '22023', 'unknown feature "brainstorm_enrich"', 'nor can it be used');

-- The fallback answers alike.
SET LOCAL momento_billing.force_spi = on;
SELECT is(fixture.consume('uf', 'auto_tags', 3, 'k'), 'allowed 3+0/20 left 17 BASIC', 'fallback: the first call');
SELECT is(fixture.consume('uf', 'auto_tags', 3, 'k'), 'allowed 3+0/20 left 17 BASIC replayed', 'fallback: the second');
SELECT throws_ok($$SELECT momento_billing.consume_quota('uf', 'auto_tags', 4, 'k')$$, '22023', NULL, 'fallback: another amount');
SELECT is(fixture.refund('uf', 'auto_tags', 3, 'k'), '3 used 0 left 20', 'fallback: given back');
SELECT is(fixture.refund('uf', 'auto_tags', 3, 'k'), '0 used 0 left 20', 'fallback: once');
SET LOCAL momento_billing.force_spi = off;

-- One user, however the id is written.
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE int USING NULL;
SELECT is(fixture.consume('042', 'auto_tags', 3, 'k'), 'allowed 3+0/20 left 17 BASIC', 'a number');
SELECT is(fixture.consume('42', 'auto_tags', 3, 'k'), 'allowed 3+0/20 left 17 BASIC replayed', 'is the same user''s key');
SELECT is(fixture.refund('0042', 'auto_tags', 3, 'k'), '3 used 0 left 20', 'and refund');
SELECT * FROM finish();
ROLLBACK;
