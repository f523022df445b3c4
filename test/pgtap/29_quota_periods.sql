-- The months that quotas are counted in: of the calendar, or of the subscription.
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up();
-- A time of this transaction, in UTC and with the app's milliseconds.
CREATE FUNCTION pg_temp.ago(i interval) RETURNS timestamp(3) LANGUAGE sql AS $$SELECT (date_trunc('second', now()) AT TIME ZONE 'UTC') - i + interval '7 ms'$$;
CREATE FUNCTION pg_temp.app_writes(u text, starts timestamp, ends timestamp, status text DEFAULT 'ACTIVE', tier text DEFAULT 'PRO') RETURNS void LANGUAGE sql AS $$
	INSERT INTO public."Subscription" (id, "userId", tier, status, "currentPeriodStart", "currentPeriodEnd", "updatedAt")
		VALUES (u, u, tier::public."SubscriptionTier", status::public."SubscriptionStatus", starts, ends, now())
		ON CONFLICT ("userId") DO UPDATE SET tier = excluded.tier, status = excluded.status,
			"currentPeriodStart" = excluded."currentPeriodStart", "currentPeriodEnd" = excluded."currentPeriodEnd"
$$;
-- The month of those from a start that it is now, as PostgreSQL counts months.
CREATE FUNCTION pg_temp.month_of(starts timestamp) RETURNS text LANGUAGE sql AS $$
	SELECT starts + n * interval '1 month' || ' to ' || starts + (n + 1) * interval '1 month' FROM generate_series(-12, 600) AS n
	WHERE statement_timestamp() AT TIME ZONE 'UTC' >= starts + n * interval '1 month'
		AND statement_timestamp() AT TIME ZONE 'UTC' < starts + (n + 1) * interval '1 month'
$$;
CREATE FUNCTION pg_temp.calendar_month() RETURNS text LANGUAGE sql AS $$SELECT fixture.month() AT TIME ZONE 'UTC' || ' to ' || fixture.month(1) AT TIME ZONE 'UTC'$$;
-- The month that a user is in, by quota_remaining(), which all features agree about.
CREATE FUNCTION pg_temp.period(u text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT (period_start AT TIME ZONE 'UTC') || ' to ' || (resets_at AT TIME ZONE 'UTC'), ', ') FROM momento_billing.quota_remaining(u)
$$;

-- The calendar's, whatever the subscription's and whatever the session's zone.
SELECT is(current_setting('momento_billing.quota_period'), 'calendar', 'the calendar''s month is the default');
SELECT pg_temp.app_writes('ca', pg_temp.ago('10 days'), pg_temp.ago('-20 days'));
SELECT is(pg_temp.period('ca'), pg_temp.calendar_month(), 'beside a subscription');
SELECT is(pg_temp.period('nobody'), pg_temp.calendar_month(), 'and without');
CREATE TABLE pg_temp.zone AS SELECT n, name FROM unnest('{Pacific/Kiritimati,Pacific/Pago_Pago,Europe/Paris,America/New_York,America/St_Johns,
	Australia/Lord_Howe,Asia/Kathmandu,Africa/Casablanca,+14,-12,UTC}'::text[]) WITH ORDINALITY AS z (name, n);
-- Every zone in turn: the answers, and where they are counted.
CREATE FUNCTION pg_temp.in_every_zone(u text, expected text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	zone record;
	r record;
	before text := current_setting('timezone');
BEGIN
	FOR zone IN SELECT n, name FROM pg_temp.zone ORDER BY n LOOP
		PERFORM set_config('timezone', zone.name, true);
		SELECT * INTO r FROM momento_billing.consume_quota(u, 'ai_chat');
		RETURN NEXT is(r.used, zone.n, zone.name || ': consumed in the same month');
		RETURN NEXT is((SELECT string_agg((period_start AT TIME ZONE 'UTC') || ' to ' || (r.resets_at AT TIME ZONE 'UTC'), ', ') FROM momento_billing.usage
			WHERE user_id = u AND feature = 'ai_chat'), expected, zone.name || ': which is UTC''s');
		RETURN NEXT is(pg_temp.period(u), expected, zone.name || ': as quota_remaining() says');
		SELECT * INTO r FROM momento_billing.reserve_quota(u, 'auto_tags', 1, '24 h');
		RETURN NEXT is(r.resets_at AT TIME ZONE 'UTC', split_part(expected, ' to ', 2)::timestamp, zone.name || ': so do reservations');
		RETURN NEXT is(r.expires_at, statement_timestamp() + interval '24 h', zone.name || ': whose hours are hours');
		RETURN NEXT is((SELECT used FROM momento_billing.commit_reservation(r.reservation_id)), zone.n, zone.name || ': and are committed there');
	END LOOP;
	PERFORM set_config('timezone', before, true);
END
$$;
SELECT * FROM pg_temp.in_every_zone('ca', pg_temp.calendar_month());

-- The subscription's.
SELECT throws_ok($$SET LOCAL momento_billing.quota_period = 'weekly'$$, '22023', NULL, 'there are two ways to count');
SET LOCAL momento_billing.quota_period = 'billing';
SELECT pg_temp.app_writes('ba', pg_temp.ago('10 days'), pg_temp.ago('10 days') + interval '1 month');
SELECT is(pg_temp.period('ba'), pg_temp.month_of(pg_temp.ago('10 days')), 'begun ten days ago');
SELECT * FROM pg_temp.in_every_zone('ba', pg_temp.month_of(pg_temp.ago('10 days')));
SELECT pg_temp.app_writes('bb', pg_temp.ago('1 s'), pg_temp.ago('1 s') + interval '1 month', 'TRIALING');
SELECT is(pg_temp.period('bb'), pg_temp.month_of(pg_temp.ago('1 s')), 'begun just now');
SELECT pg_temp.app_writes('bc', pg_temp.ago('3 days'), pg_temp.ago('-11 days'), 'TRIALING');
SELECT is(pg_temp.period('bc'), pg_temp.month_of(pg_temp.ago('3 days')), 'a trial of two weeks');
SELECT pg_temp.app_writes('bd', pg_temp.ago('100 days'), pg_temp.ago('100 days') + interval '1 year');
SELECT is(pg_temp.period('bd'), pg_temp.month_of(pg_temp.ago('100 days')), 'a year has months');
SELECT pg_temp.app_writes('be', pg_temp.ago('40 days') - interval '1 month', pg_temp.ago('40 days'));
SELECT is(pg_temp.period('be'), pg_temp.month_of(pg_temp.ago('40 days')), 'no news of a renewal for forty days');
SELECT pg_temp.app_writes('bf', pg_temp.ago('-5 days'), pg_temp.ago('-5 days') + interval '1 month');
SELECT is(pg_temp.period('bf'), pg_temp.month_of(pg_temp.ago('-5 days')), 'one that is yet to begin');
SELECT pg_temp.app_writes('bg', pg_temp.ago('10 days'), NULL);
SELECT is(pg_temp.period('bg'), pg_temp.month_of(pg_temp.ago('10 days')), 'without an end');
SELECT pg_temp.app_writes('bh', pg_temp.ago('10 days'), 'infinity');
SELECT is(pg_temp.period('bh'), pg_temp.month_of(pg_temp.ago('10 days')), 'with none');
SELECT pg_temp.app_writes('bi', '2020-02-29 12:00', '2021-02-28 12:00');
SELECT is(pg_temp.period('bi'), pg_temp.month_of('2020-02-29 12:00'), 'since a leap day');
SELECT pg_temp.app_writes('bj', '2024-01-31 12:00', '2024-02-29 12:00');
SELECT is(pg_temp.period('bj'), pg_temp.month_of('2024-01-31 12:00'), 'since a 31st');
SELECT pg_temp.app_writes('bk', '2025-02-28 12:00', '2025-03-31 12:00');
SELECT is(pg_temp.period('bk'), pg_temp.month_of('2024-12-31 12:00'), 'from the last of February to the last of March');

-- Where the row gives access: else the calendar's.
SELECT pg_temp.app_writes('la', pg_temp.ago('10 days'), pg_temp.ago('-1 day'), 'CANCELED');
SELECT is(pg_temp.period('la'), pg_temp.month_of(pg_temp.ago('10 days')), 'canceled, and paid until tomorrow');
SELECT pg_temp.app_writes('la', pg_temp.ago('10 days'), pg_temp.ago('1 s'), 'CANCELED');
SELECT is(pg_temp.period('la'), pg_temp.calendar_month(), 'until a second ago');
SELECT pg_temp.app_writes('lb', pg_temp.ago('10 days'), pg_temp.ago('-1 day'), 'PAST_DUE');
SELECT is(pg_temp.period('lb'), pg_temp.month_of(pg_temp.ago('10 days')), 'past due, within the period');
SELECT pg_temp.app_writes('lb', pg_temp.ago('10 days'), pg_temp.ago('1 s'), 'PAST_DUE');
SELECT is(pg_temp.period('lb'), pg_temp.calendar_month(), 'and after it');
SELECT pg_temp.app_writes('lc', pg_temp.ago('10 days'), pg_temp.ago('-20 days'), 'INACTIVE');
SELECT is(pg_temp.period('lc'), pg_temp.calendar_month(), 'inactive');
SELECT pg_temp.app_writes('ld', NULL, pg_temp.ago('-20 days'));
SELECT is(pg_temp.period('ld'), pg_temp.calendar_month(), 'without a start');
SELECT pg_temp.app_writes('ld', 'infinity', pg_temp.ago('-20 days'));
SELECT is(pg_temp.period('ld'), pg_temp.calendar_month(), 'that never begins');
SELECT pg_temp.app_writes('ld', '-infinity', pg_temp.ago('-20 days'));
SELECT is(pg_temp.period('ld'), pg_temp.calendar_month(), 'that has always been');
SELECT is(pg_temp.period('nobody'), pg_temp.calendar_month(), 'without a row');
SELECT momento_billing.grant_tier('byhand', 'PRO') AS tier_grant \gset
SELECT is(pg_temp.period('byhand'), pg_temp.calendar_month(), 'with a tier given by hand');
SELECT is(fixture.consume('byhand', 'ai_chat', 2), 'allowed 2+0/100 left 98 PRO', 'which can be used');

-- Counted in it, and anew in the next one.
SELECT pg_temp.app_writes('na', pg_temp.ago('10 days'), pg_temp.ago('10 days') + interval '1 month');
SELECT is(fixture.consume('na', 'ai_chat', 90, 'k'), 'allowed 90+0/100 left 10 PRO', 'in this period');
SELECT is((SELECT period_start AT TIME ZONE 'UTC' FROM momento_billing.usage WHERE user_id = 'na'), pg_temp.ago('10 days')::timestamp, 'which begins with the subscription''s');
SELECT is((SELECT resets_at AT TIME ZONE 'UTC' FROM momento_billing.consume_quota('na', 'ai_chat', 90)), (pg_temp.ago('10 days') + interval '1 month')::timestamp, 'a refusal says when it ends');
SELECT reservation_id AS r FROM momento_billing.reserve_quota('na', 'ai_chat', 5) \gset
SELECT is(momento_billing.quota_remaining('na', 'ai_chat'), 5::bigint, 'and five are held');
SET LOCAL momento_billing.quota_period = 'calendar';
SELECT is(momento_billing.quota_remaining('na', 'ai_chat'), 100::bigint, 'the calendar''s month has its own counter');
SET LOCAL momento_billing.quota_period = 'billing';
SELECT pg_temp.app_writes('na', pg_temp.ago('1 s'), pg_temp.ago('1 s') + interval '1 month');
SELECT is(momento_billing.quota_remaining('na', 'ai_chat'), 100::bigint, 'renewed: all is there again');
SELECT is(fixture.consume('na', 'ai_chat', 3), 'allowed 3+0/100 left 97 PRO', 'and used');
SELECT is((SELECT concat_ws(' ', committed, amount, used, held, remaining) FROM momento_billing.commit_reservation(:r, 4)), 't 4 94 0 6', 'what was held before is used before');
SELECT is(fixture.refund('na', 'ai_chat', 50, 'k'), '50 used 44 left 56', 'and given back there');
SELECT is(fixture.refund('na', 'ai_chat', 50), '3 used 0 left 100', 'without a key: of the new one');
SELECT is(fixture.counters('na', 'ai_chat'), '44+0, 0+0', 'as both are counted');
SELECT is(fixture.consume('na', 'ai_chat', 90, 'k'), 'allowed 90+0/100 left 10 PRO replayed', 'a key is known in the next one');
-- Late news of a renewal changes nothing.
SELECT pg_temp.app_writes('nb', pg_temp.ago('5 days') - interval '1 month', pg_temp.ago('5 days'));
SELECT is(fixture.consume('nb', 'ai_chat', 70), 'allowed 70+0/100 left 30 PRO', 'used after the end that the row shows');
SELECT pg_temp.period('nb') AS before \gset
SELECT pg_temp.app_writes('nb', split_part(:'before', ' to ', 1)::timestamp, split_part(:'before', ' to ', 2)::timestamp);
SELECT is(pg_temp.period('nb'), :'before', 'the renewal begins where the month did');
SELECT is(momento_billing.quota_remaining('nb', 'ai_chat'), 30::bigint, 'nobody gets it twice');
-- The subscription ends: the calendar's month, with what was used in it.
SELECT pg_temp.app_writes('nc', pg_temp.ago('10 days'), pg_temp.ago('-20 days'));
SELECT is(fixture.consume('nc', 'auto_tags', 150), 'allowed 150+0/200 left 50 PRO', 'used as PRO');
SELECT pg_temp.app_writes('nc', pg_temp.ago('10 days'), pg_temp.ago('-20 days'), 'INACTIVE');
SELECT is(fixture.consume('nc', 'auto_tags', 15), 'allowed 15+0/20 left 5 BASIC', 'then as BASIC');
SELECT pg_temp.app_writes('nc', pg_temp.ago('10 days'), pg_temp.ago('-20 days'));
SELECT is(momento_billing.quota_remaining('nc', 'auto_tags'), 50::bigint, 'and PRO again');
-- By Stripe's events.
SELECT is(fixture.sync('customer.subscription.created', 'evt_1', now() - interval '3 days', fixture.subscription('sub_1', 'active', user_id => 'stripe',
	starts => date_trunc('second', now()) - interval '3 days', ends => date_trunc('second', now()) + interval '25 days')), 'applied', 'a subscription of Stripe''s');
SELECT is(pg_temp.period('stripe'), pg_temp.month_of((date_trunc('second', now()) - interval '3 days') AT TIME ZONE 'UTC'), 'has its months');

-- The fallback counts alike.
SET LOCAL momento_billing.force_spi = on;
SELECT is(pg_temp.period('ba'), pg_temp.month_of(pg_temp.ago('10 days')), 'fallback: the subscription''s');
SELECT is(pg_temp.period('be'), pg_temp.month_of(pg_temp.ago('40 days')), 'fallback: a late renewal');
SELECT is(pg_temp.period('lc'), pg_temp.calendar_month(), 'fallback: the calendar''s');
SELECT is(fixture.consume('nb', 'ai_chat', 31), 'refused 70+0/100 left 30 PRO limit_reached', 'fallback: refused');
SELECT is(fixture.consume('nb', 'ai_chat', 30), 'allowed 100+0/100 left 0 PRO', 'fallback: allowed');
SET LOCAL momento_billing.force_spi = off;
-- So does a column with a time zone, in any session's.
ALTER TABLE public."Subscription" ALTER "currentPeriodStart" TYPE timestamptz USING "currentPeriodStart" AT TIME ZONE 'UTC',
	ALTER "currentPeriodEnd" TYPE timestamptz USING "currentPeriodEnd" AT TIME ZONE 'UTC';
SET LOCAL timezone = 'America/New_York';
SELECT is(pg_temp.period('ba'), pg_temp.month_of(pg_temp.ago('10 days')), 'a column with a time zone');
SELECT is(momento_billing.quota_remaining('nb', 'ai_chat'), 0::bigint, 'and what was used');
SELECT * FROM finish();
ROLLBACK;
