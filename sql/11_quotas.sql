-- Quotas: what the calls answer, and their errors.  As an app, but for what is
-- a person's.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE ROLE regress_mb_app;
CREATE EXTENSION momento_billing;
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.set_up();
SELECT momento_billing.grant_app_access('regress_mb_app');
INSERT INTO public."Subscription" (id, "userId", tier, status, "updatedAt") VALUES
	('1', 'pro', 'PRO', 'ACTIVE', now()), ('2', 'big', 'ENTERPRISE', 'ACTIVE', now());
-- months come and go: what is shown of them is that the next one begins in it
CREATE FUNCTION fixture.is_next_month(at timestamptz) RETURNS bool LANGUAGE sql AS
	$$SELECT at = date_trunc('month', statement_timestamp() + interval '1 month')$$;
GRANT USAGE ON SCHEMA fixture TO PUBLIC;
SET ROLE regress_mb_app;

-- Using units.
SELECT allowed, used, held, monthly_limit, remaining, unlimited, fixture.is_next_month(resets_at), tier, reason, replayed
	FROM momento_billing.consume_quota('ann', 'auto_titles');
SELECT allowed, used, remaining, reason FROM momento_billing.consume_quota('ann', 'auto_titles', 10);
SELECT allowed, used, remaining, reason FROM momento_billing.consume_quota('ann', 'auto_titles', 9);
SELECT allowed, used, remaining, reason FROM momento_billing.consume_quota('ann', 'auto_titles');
SELECT allowed, monthly_limit, remaining, unlimited, tier, reason FROM momento_billing.consume_quota('ann', 'ai_chat');
SELECT allowed, monthly_limit, remaining, unlimited, tier, reason FROM momento_billing.consume_quota('big', 'ai_chat', 1000000);
SELECT momento_billing.quota_remaining('ann', 'auto_titles'), momento_billing.quota_remaining('big', 'ai_chat');

-- With a key, and giving back.
SELECT allowed, used, remaining, replayed FROM momento_billing.consume_quota('pro', 'auto_tags', 5, 'req_1');
SELECT allowed, used, remaining, replayed FROM momento_billing.consume_quota('pro', 'auto_tags', 5, 'req_1');
SELECT allowed FROM momento_billing.consume_quota('pro', 'auto_tags', 6, 'req_1');
\echo :LAST_ERROR_SQLSTATE
SELECT allowed FROM momento_billing.reserve_quota('pro', 'auto_tags', 5, '1 min', 'req_1');
SELECT * FROM momento_billing.refund_quota('pro', 'ai_chat', 5, 'req_1');
SELECT * FROM momento_billing.refund_quota('pro', 'auto_tags', 2, 'req_1');
SELECT * FROM momento_billing.refund_quota('pro', 'auto_tags', 2, 'req_1');
SELECT * FROM momento_billing.refund_quota('pro', 'auto_tags', 5, 'req_1');
SELECT * FROM momento_billing.refund_quota('pro', 'auto_tags', 1, 'req_unknown');
SELECT * FROM momento_billing.refund_quota('pro', 'auto_tags');

-- Holding units.
SELECT reservation_id, allowed, used, held, remaining, reason, replayed, expires_at - statement_timestamp() AS lasts
	FROM momento_billing.reserve_quota('pro', 'ai_chat', 60);
SELECT reservation_id, allowed, used, held, remaining, reason, expires_at FROM momento_billing.reserve_quota('pro', 'ai_chat', 41);
SELECT allowed, held, remaining FROM momento_billing.consume_quota('pro', 'ai_chat', 41);
SELECT * FROM momento_billing.commit_reservation(1, 61);
SELECT * FROM momento_billing.commit_reservation(1, 45);
SELECT * FROM momento_billing.commit_reservation(1);
SELECT * FROM momento_billing.release_reservation(1);
SELECT reservation_id, held FROM momento_billing.reserve_quota('pro', 'ai_chat', 55, '24 hours');
SELECT * FROM momento_billing.release_reservation(2);
SELECT * FROM momento_billing.release_reservation(2);
SELECT * FROM momento_billing.commit_reservation(2);
SELECT * FROM momento_billing.commit_reservation(99);
SELECT * FROM momento_billing.commit_reservation(NULL);
SELECT * FROM momento_billing.release_reservation(NULL);

-- What is refused as such.
SELECT * FROM momento_billing.consume_quota(NULL, 'ai_chat');
SELECT * FROM momento_billing.consume_quota('', 'ai_chat');
SELECT * FROM momento_billing.consume_quota('pro', NULL);
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chatt');
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chat', 0);
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chat', -1);
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chat', NULL);
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chat', 1000000000001);
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chat', 1, '');
SELECT * FROM momento_billing.consume_quota('pro', 'ai_chat', 1, repeat('k', 256));
SELECT * FROM momento_billing.refund_quota('pro', 'ai_chat', 0);
SELECT * FROM momento_billing.reserve_quota('pro', 'ai_chat', 1, '0');
SELECT * FROM momento_billing.reserve_quota('pro', 'ai_chat', 1, '24 hours 1 second');
SELECT * FROM momento_billing.reserve_quota('pro', 'ai_chat', 1, NULL);
SELECT * FROM momento_billing.commit_reservation(1, -1);
SELECT momento_billing.grant_quota('pro', 'ai_chat', 1);
SELECT momento_billing.import_redis_usage('usage:pro:ai_chat:2026-01', 1);

-- A table of the app's that counts its rows.
RESET ROLE;
CREATE TABLE public.brainstorm (id int PRIMARY KEY, "userId" text);
ALTER TABLE public.brainstorm OWNER TO regress_mb_app;
SET ROLE regress_mb_app;
CREATE TRIGGER brainstorm_quota AFTER INSERT ON public.brainstorm
	FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_create', 'userId');
INSERT INTO public.brainstorm VALUES (1, 'ann');
INSERT INTO public.brainstorm VALUES (1, 'ann') ON CONFLICT DO NOTHING;
INSERT INTO public.brainstorm VALUES (2, 'ann');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO public.brainstorm VALUES (2, NULL);
SELECT count(*) FROM public.brainstorm;
CREATE TRIGGER reformulation_quota BEFORE INSERT ON public.brainstorm
	FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('reformulation', 'userId');
INSERT INTO public.brainstorm VALUES (2, 'ann');
DROP TRIGGER reformulation_quota ON public.brainstorm;
CREATE TRIGGER wrong_quota AFTER INSERT ON public.brainstorm
	FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_create', 'user_id');
INSERT INTO public.brainstorm VALUES (2, 'pro');
DROP TRIGGER wrong_quota ON public.brainstorm;
CREATE TRIGGER wrong_quota AFTER INSERT ON public.brainstorm
	FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_create');
INSERT INTO public.brainstorm VALUES (2, 'pro');
DROP TRIGGER wrong_quota ON public.brainstorm;
CREATE TRIGGER wrong_quota AFTER INSERT ON public.brainstorm
	FOR EACH STATEMENT EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_create', 'userId');
INSERT INTO public.brainstorm VALUES (2, 'pro');
DROP TRIGGER wrong_quota ON public.brainstorm;
RESET ROLE;

-- A person gives more, and takes over what another store has counted.
SELECT momento_billing.grant_quota('ann', 'auto_titles', 3, '2099-01-01', 'a gesture');
SELECT momento_billing.grant_quota('ann', 'ai_chat', 2);
SELECT momento_billing.grant_quota('ann', 'ai_chat', 2, '2020-01-01');
SELECT momento_billing.grant_quota('ann', 'ai_chatt', 2);
SELECT momento_billing.grant_quota('ann', 'ai_chat', 0);
SELECT allowed, used, remaining, reason FROM momento_billing.consume_quota('ann', 'auto_titles', 2, 'req_2');
SELECT allowed, monthly_limit, used, remaining, reason FROM momento_billing.consume_quota('ann', 'ai_chat', 2);
SELECT allowed, reason FROM momento_billing.consume_quota('ann', 'ai_chat');
SELECT * FROM momento_billing.refund_quota('ann', 'auto_titles', 1, 'req_2');
SELECT id, user_id, feature, amount, remaining, expires_at, reason, granted_by = session_user AS by_me FROM momento_billing.quota_grant ORDER BY id;
SELECT feature, used, held, monthly_limit, remaining, unlimited, included FROM momento_billing.quota_remaining('ann') WHERE feature IN ('auto_titles', 'ai_chat');
SELECT momento_billing.import_redis_usage('usage:org:7:ai_chat:2026-01', 12);
SELECT momento_billing.import_redis_usage('usage:org:7:ai_chat:2026-01', 3);
SELECT user_id, feature, period_start, used FROM momento_billing.usage WHERE user_id = 'org:7';
SELECT momento_billing.import_redis_usage('usage:pro:ai_chat:2026-13', 1);
SELECT momento_billing.import_redis_usage('usage::ai_chat:2026-01', 1);
SELECT momento_billing.import_redis_usage('usage:ai_chat:2026-01', 1);
SELECT momento_billing.import_redis_usage('session:pro', 1);
SELECT momento_billing.import_redis_usage('usage:pro:ai_chatt:2026-01', 1);
SELECT momento_billing.import_redis_usage('usage:pro:ai_chat:2026-01', -1);
SELECT momento_billing.import_redis_usage('usage:pro:ai_chat:2026-01', NULL);
SELECT momento_billing.import_redis_usage(NULL, 1);
ROLLBACK;
