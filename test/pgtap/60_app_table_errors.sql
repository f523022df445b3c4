-- The app's table refuses a row: the event waits, the others go on.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
CREATE TABLE public.app_user (id text PRIMARY KEY);
INSERT INTO public.app_user SELECT 'u' || n FROM generate_series(1, 20) AS n;
ALTER TABLE public."Subscription" ADD CONSTRAINT known_user FOREIGN KEY ("userId") REFERENCES public.app_user;

CREATE FUNCTION pg_temp.bought(u text, id text DEFAULT '1') RETURNS jsonb LANGUAGE sql AS $$
	SELECT fixture.event('evt_' || u || '_' || id, 'customer.subscription.created', '2026-01-01 00:00+00',
		fixture.subscription('sub_' || u, 'active', customer => 'cus_' || u, user_id => u))
$$;
CREATE FUNCTION pg_temp.sync(event jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', r.outcome, r.reason) FROM momento_billing.sync_subscription_from_event(event) AS r
$$;
-- The event's time has come.
CREATE FUNCTION pg_temp.make_due(id text) RETURNS void LANGUAGE sql AS $$
	UPDATE momento_billing.webhook_inbox SET next_attempt_at = '2000-01-01' WHERE event_id = make_due.id
$$;
CREATE FUNCTION pg_temp.attempts(id text) RETURNS int LANGUAGE sql AS $$SELECT attempts FROM momento_billing.webhook_inbox WHERE event_id = attempts.id$$;
CREATE FUNCTION pg_temp.last_error(id text) RETURNS text LANGUAGE sql AS $$SELECT last_error FROM momento_billing.webhook_inbox WHERE event_id = last_error.id$$;

-- One event, by sync.
SELECT is(pg_temp.sync(pg_temp.bought('stranger')), 'waiting app_table_error', 'rule 10: a user whom the app does not have');
SELECT is(fixture.inbox('evt_stranger_1'), 'waiting app_table_error', 'rule 10: the event waits');
SELECT matches(pg_temp.last_error('evt_stranger_1'), '^23503: .*"known_user"', 'rule 10: with the error');
SELECT is(pg_temp.attempts('evt_stranger_1'), 1, 'rule 10: the attempt is counted');
SELECT ok((SELECT next_attempt_at > clock_timestamp() AND next_attempt_at < clock_timestamp() + interval '1 hour' FROM momento_billing.webhook_inbox
	WHERE event_id = 'evt_stranger_1'), 'rule 10: and it is tried again soon');
SELECT is((SELECT status FROM momento_billing.stripe_subscription WHERE subscription_id = 'sub_stranger'), 'active', 'what Stripe said is kept');
SELECT is(momento_billing.effective_tier('stranger'), 'BASIC', 'without a row there is no access');
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'it is not due yet');
SELECT pg_temp.make_due('evt_stranger_1');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'then it is');
SELECT is(fixture.inbox('evt_stranger_1'), 'waiting app_table_error', 'refused again');
SELECT is(pg_temp.attempts('evt_stranger_1'), 2, 'and counted');
INSERT INTO public.app_user VALUES ('stranger');
SELECT pg_temp.make_due('evt_stranger_1');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'the app has got to know the user');
SELECT is(fixture.inbox('evt_stranger_1'), 'processed', 'the event is processed, with no reason to tell');
SELECT is(fixture.app_row('stranger'), 'PRO ACTIVE sub_stranger', 'and the row is there');
SELECT ok((SELECT next_attempt_at IS NULL FROM momento_billing.webhook_inbox WHERE event_id = 'evt_stranger_1'), 'nothing is due');
SELECT is(pg_temp.sync(pg_temp.bought('stranger')), 'duplicate', 'from now on it is a duplicate');

-- Re-delivered while it waits, sync takes it over.
SELECT is(pg_temp.sync(pg_temp.bought('later')), 'waiting app_table_error', 'another stranger');
INSERT INTO public.app_user VALUES ('later');
SELECT is(pg_temp.sync(pg_temp.bought('later')), 'applied', 'a waiting event is taken over');
SELECT is(fixture.inbox('evt_later_1'), 'processed', 'and processed');

-- In a batch only the bad ones wait.
INSERT INTO momento_billing.webhook_inbox (payload) SELECT pg_temp.bought(u) FROM unnest('{u1,bad1,u2,u3,bad2,u4,u5}'::text[]) AS u;
SELECT is(momento_billing.drain_inbox(), 7::bigint, 'a batch with two bad events');
SELECT is((SELECT string_agg(concat_ws(' ', event_id, status, reason, attempts), ', ' ORDER BY id) FROM momento_billing.webhook_inbox WHERE event_id ~ '^evt_(u|bad)\d_'),
	'evt_u1_1 processed 0, evt_bad1_1 waiting app_table_error 1, evt_u2_1 processed 0, evt_u3_1 processed 0, evt_bad2_1 waiting app_table_error 1, evt_u4_1 processed 0, evt_u5_1 processed 0',
	'rule 10: other users'' events go on');
SELECT is((SELECT count(*) FROM public."Subscription" WHERE "userId" ~ '^u\d$'), 5::bigint, 'and have their rows');

-- A newer event of the same user waits likewise; one success repairs the row.
SELECT is(fixture.sync('customer.subscription.updated', 'evt_bad1_2', '2026-01-02 00:00+00', fixture.subscription('sub_bad1', 'past_due', customer => 'cus_bad1')),
	'waiting app_table_error', 'the next event of a refused user');
INSERT INTO public.app_user VALUES ('bad1');
SELECT pg_temp.make_due('evt_bad1_1');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'the older one is tried first');
SELECT is(fixture.app_row('bad1'), 'PRO PAST_DUE sub_bad1', 'the row shows the newest state all the same');
SELECT pg_temp.make_due('evt_bad1_2');
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'then the newer one');
SELECT is((SELECT string_agg(status, ' ') FROM momento_billing.webhook_inbox WHERE event_id LIKE 'evt_bad1%'), 'processed processed', 'both are done');

-- Dead after max_attempts.
CREATE FUNCTION pg_temp.try_to_death(id text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	tries int := 0;
BEGIN
	WHILE (SELECT status FROM momento_billing.webhook_inbox WHERE event_id = try_to_death.id) IN ('waiting', 'pending') AND tries < 100 LOOP
		PERFORM pg_temp.make_due(id);
		PERFORM momento_billing.drain_inbox();
		tries := tries + 1;
	END LOOP;
	RETURN tries;
END
$$;
SELECT is(pg_temp.try_to_death('evt_bad2_1'), current_setting('momento_billing.max_attempts')::int - 1, 'rule 10: it is tried max_attempts times');
SELECT is((SELECT status FROM momento_billing.webhook_inbox WHERE event_id = 'evt_bad2_1'), 'dead', 'rule 10: and then dead');
SELECT is(pg_temp.attempts('evt_bad2_1'), current_setting('momento_billing.max_attempts')::int, 'with all its attempts');
SELECT matches(pg_temp.last_error('evt_bad2_1'), '^23503: ', 'and its error');
SELECT is(momento_billing.drain_inbox(), 0::bigint, 'a dead event is not tried');
INSERT INTO public.app_user VALUES ('bad2');
SELECT is(pg_temp.sync(pg_temp.bought('bad2')), 'applied', 'R25: a re-delivery makes a dead event due again');
SELECT is(fixture.app_row('bad2'), 'PRO ACTIVE sub_bad2', 'R25: and applies it');

-- Other refusals.
ALTER TABLE public."Subscription" ADD CONSTRAINT no_business CHECK (tier <> 'BUSINESS');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_u1_2', '2026-01-02 00:00+00', fixture.subscription('sub_u1', 'active', customer => 'cus_u1', price => 'price_business_month')),
	'waiting app_table_error', 'a CHECK on an update');
SELECT matches(pg_temp.last_error('evt_u1_2'), '^23514: .*"no_business"', 'with its name');
SELECT is(fixture.app_row('u1'), 'PRO ACTIVE sub_u1', 'the row is as it was');
INSERT INTO public."Subscription" (id, "userId", "stripeSubscriptionId", "updatedAt") VALUES ('own', 'u10', 'sub_u11', now());
SELECT is(pg_temp.sync(pg_temp.bought('u11')), 'applied', 'a subscription id that another row has');
SELECT is(fixture.app_row('u11') || ', ' || fixture.app_row('u10'), 'PRO ACTIVE sub_u11, BASIC INACTIVE', 'leaves that row');
ALTER TABLE public."Subscription" ADD COLUMN team text NOT NULL DEFAULT '';
ALTER TABLE public."Subscription" ALTER team DROP DEFAULT;
SELECT is(pg_temp.sync(pg_temp.bought('u12')), 'waiting app_table_error', 'a column that we cannot fill');
SELECT matches(pg_temp.last_error('evt_u12_1'), '^23502: .*"team"', 'is named');
ALTER TABLE public."Subscription" DROP COLUMN team;

-- Triggers that swallow what we write.
CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER swallow BEFORE INSERT ON public."Subscription" FOR EACH ROW EXECUTE FUNCTION public.swallow();
SELECT is(pg_temp.sync(pg_temp.bought('u13')), 'waiting app_table_error', 'a trigger that suppresses the insert');
SELECT is(pg_temp.attempts('evt_u13_1'), 1, 'is a failure that counts');
DROP TRIGGER swallow ON public."Subscription";
CREATE TRIGGER swallow BEFORE UPDATE ON public."Subscription" FOR EACH ROW EXECUTE FUNCTION public.swallow();
SELECT is(fixture.sync('customer.subscription.updated', 'evt_u2_2', '2026-01-02 00:00+00', fixture.subscription('sub_u2', 'past_due', customer => 'cus_u2')),
	'waiting app_table_error', 'or the update');
SELECT matches(pg_temp.last_error('evt_u2_2'), '^27000: ', 'which says so');
DROP TRIGGER swallow ON public."Subscription";

-- A lock in the way is nobody's failure: it is the caller's to see, who may
-- catch it and go on.
CREATE FUNCTION public.locked() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = 'locked'; END$$;
CREATE TRIGGER locked BEFORE INSERT ON public."Subscription" FOR EACH ROW EXECUTE FUNCTION public.locked();
SELECT throws_ok($$SELECT pg_temp.sync(pg_temp.bought('u14'))$$, '55P03', 'locked', 'sync raises a lock failure');
CREATE FUNCTION pg_temp.catch_and_go_on() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	seen text := '';
BEGIN
	CREATE TEMP TABLE mark (n int) ON COMMIT DROP;
	FOR i IN 1 .. 3 LOOP
		INSERT INTO mark VALUES (i);
		BEGIN
			INSERT INTO mark VALUES (i * 10);
			PERFORM pg_temp.sync(pg_temp.bought('u14'));
		EXCEPTION WHEN lock_not_available THEN
			seen := seen || 'caught ';
		END;
	END LOOP;
	RETURN seen || (SELECT string_agg(n::text, ' ' ORDER BY n) FROM mark);
END
$$;
SELECT is(pg_temp.catch_and_go_on(), 'caught caught caught 1 2 3', 'a caller who catches it loses what he did in that block, and nothing else');
SELECT is(fixture.inbox('evt_u14_1'), NULL, 'the event was not recorded');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.bought('u14')), (pg_temp.bought('u15'));
SELECT lives_ok('SELECT momento_billing.drain_inbox()', 'the drain puts it off');
SELECT is((SELECT string_agg(concat_ws(' ', status, attempts), ', ' ORDER BY id) FROM momento_billing.webhook_inbox WHERE event_id IN ('evt_u14_1', 'evt_u15_1')),
	'pending 0, pending 0', 'without counting an attempt');
DROP TRIGGER locked ON public."Subscription";
SELECT pg_temp.make_due('evt_u14_1'), pg_temp.make_due('evt_u15_1');
SELECT is(momento_billing.drain_inbox(), 2::bigint, 'until the lock is gone');
SELECT is(fixture.app_row('u14'), 'PRO ACTIVE sub_u14', 'then it is applied');

-- The table is away, and comes back.
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (pg_temp.bought('u16'));
ALTER TABLE public."Subscription" RENAME TO away;
SELECT throws_ok('SELECT momento_billing.drain_inbox()', '42P01', 'table public."Subscription" does not exist', 'the table is missing');
SELECT is(fixture.inbox('evt_u16_1'), 'pending', 'the inbox keeps its events');
ALTER TABLE public.away RENAME TO "Subscription";
ALTER TABLE public."Subscription" RENAME tier TO plan;
SELECT throws_ok('SELECT momento_billing.drain_inbox()', '42703', 'column "tier" of table public."Subscription" does not exist', 'a column is missing');
ALTER TABLE public."Subscription" RENAME plan TO tier;
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'and goes on when it is back');
SELECT is(fixture.app_row('u16'), 'PRO ACTIVE sub_u16', 'with the event');
SELECT * FROM finish();
ROLLBACK;
