-- When a failed event is tried again: twice as late with each attempt, up to
-- retry_max, and not all at the same moment.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
SELECT is(current_setting('momento_billing.retry_base'), '2s', 'the first delay');
SELECT is(current_setting('momento_billing.retry_max'), '1h', 'the longest');
SELECT is(current_setting('momento_billing.max_attempts'), '12', 'the number of attempts');

-- A hundred users whom the app's table refuses, each time.
ALTER TABLE public."Subscription" ADD CONSTRAINT nobody CHECK (false);
INSERT INTO momento_billing.webhook_inbox (payload)
	SELECT fixture.event('evt_' || n, 'customer.subscription.created', '2026-01-01 00:00+00',
		fixture.subscription('sub_' || n, 'active', customer => 'cus_' || n, user_id => 'u' || n))
	FROM generate_series(1, 100) AS n;

-- How late the next attempt is, in seconds; the settling itself takes a moment.
CREATE TABLE pg_temp.delay (attempt int, seconds float8);
DO $$
DECLARE
	began timestamptz;
BEGIN
	FOR attempt IN 1 .. 12 LOOP
		began := clock_timestamp();
		PERFORM momento_billing.drain_inbox();
		INSERT INTO pg_temp.delay SELECT i.attempts, extract(epoch FROM i.next_attempt_at - began) FROM momento_billing.webhook_inbox AS i;
		INSERT INTO pg_temp.delay SELECT -attempt, extract(epoch FROM clock_timestamp() - began);
		UPDATE momento_billing.webhook_inbox SET next_attempt_at = '2000-01-01' WHERE status = 'waiting';
	END LOOP;
END
$$;
SELECT is((SELECT string_agg(DISTINCT concat_ws(' ', status, reason, attempts, next_attempt_at), ', ') FROM momento_billing.webhook_inbox),
	'dead app_table_error 12', 'after the last attempt all are dead');
SELECT results_eq('SELECT attempt, count(seconds) FROM pg_temp.delay WHERE attempt > 0 GROUP BY 1 ORDER BY 1',
	'SELECT n, CASE WHEN n < 12 THEN 100 ELSE 0 END::bigint FROM generate_series(1, 12) AS n', 'there is a next attempt after each but the last');
SELECT ok(min(d.seconds) >= .8 * e.seconds AND max(d.seconds) <= 1.2 * e.seconds + took.seconds,
		format('attempt %s: after %s s, give or take a fifth', e.attempt, e.seconds))
	FROM pg_temp.delay AS d
	JOIN (SELECT n AS attempt, least(2 * 2 ^ (n - 1), 3600) AS seconds FROM generate_series(1, 11) AS n) AS e USING (attempt)
	JOIN pg_temp.delay AS took ON took.attempt = -e.attempt
	GROUP BY e.attempt, e.seconds, took.seconds ORDER BY e.attempt;
SELECT ok(max(d.seconds) - min(d.seconds) > .2 * avg(d.seconds), format('attempt %s: not all at once', d.attempt))
	FROM pg_temp.delay AS d WHERE d.attempt BETWEEN 4 AND 11 GROUP BY d.attempt ORDER BY d.attempt;

-- Replayed, it begins anew.
SELECT ok(momento_billing.replay_event('evt_1'), 'a dead event is replayed');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'tried');
SELECT ok(attempts = 1 AND next_attempt_at < clock_timestamp() + interval '2.4 s', 'and has the first delay again') FROM momento_billing.webhook_inbox WHERE event_id = 'evt_1';

-- However much somebody has to say
ALTER TABLE public."Subscription" DROP CONSTRAINT nobody;
CREATE FUNCTION pg_temp.talk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat('ü', 1000000); END $$;
CREATE TRIGGER talk BEFORE INSERT OR UPDATE ON public."Subscription" FOR EACH ROW EXECUTE FUNCTION pg_temp.talk();
INSERT INTO momento_billing.webhook_inbox (payload)
	SELECT fixture.event('evt_long', 'customer.subscription.created', '2026-01-01 00:00+00', fixture.subscription('sub_long', 'active', customer => 'cus_long', user_id => 'long'));
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'an error of a million characters');
SELECT ok(last_error ~ '^P0001: ü+' AND length(last_error) BETWEEN 100 AND 10000, 'its beginning is kept') FROM momento_billing.webhook_inbox WHERE event_id = 'evt_long';
SELECT finish();
ROLLBACK;
