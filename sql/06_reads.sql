-- What an app asks: effective_tier(), billing_status(), quota_remaining().
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.add_prices();
INSERT INTO public."Subscription" (id, "userId", tier, status, "stripeSubscriptionId", "currentPeriodEnd", "cancelAtPeriodEnd", "updatedAt") VALUES
	('1', 'active', 'PRO', 'ACTIVE', 'sub_1', '2099-01-01', true, now()),
	('2', 'ended', 'BUSINESS', 'CANCELED', 'sub_2', '2001-02-03 04:05:06.789', false, now()),
	('3', 'byhand', 'ENTERPRISE', 'ACTIVE', NULL, NULL, false, now()),
	('4', 'inactive', 'PRO', 'INACTIVE', 'sub_4', '2099-01-01', false, now()),
	('5', 'endless', 'PRO', 'PAST_DUE', 'sub_5', NULL, false, now()),
	('6', 'infinite', 'PRO', 'CANCELED', 'sub_6', 'infinity', false, now()),
	('7', 'long ago', 'PRO', 'CANCELED', 'sub_7', '-infinity', false, now());

SELECT u, momento_billing.effective_tier(u) FROM unnest('{active,ended,byhand,inactive,endless,infinite,long ago,nobody,"",NULL}'::text[]) AS u;
SELECT t, momento_billing.effective_tier('ended', t) FROM unnest('{2001-02-03 04:05:06.788+00,2001-02-03 04:05:06.789+00,-infinity,infinity}'::timestamptz[]) AS t;
SELECT momento_billing.effective_tier('ended', NULL) IS NULL AS no_time, momento_billing.effective_tier(NULL, now()) IS NULL AS no_user;

-- The guide's object.
SELECT u, momento_billing.billing_status(u) FROM unnest('{active,ended,byhand,inactive,endless,infinite,long ago,nobody}'::text[]) AS u;
SET timezone = 'America/St_Johns';
SELECT momento_billing.billing_status('ended') ->> 'currentPeriodEnd';
SET timezone = 'UTC';
SELECT momento_billing.billing_status(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.billing_status('');

-- Quotas: nothing is used yet.
SELECT u, momento_billing.quota_remaining(u, 'ai_chat') AS ai_chat, momento_billing.quota_remaining(u, 'auto_tags') AS auto_tags
	FROM unnest('{active,ended,byhand,nobody}'::text[]) AS u;
SELECT feature, tier, used, held, monthly_limit, remaining, unlimited, included, period_start < resets_at AS period
	FROM momento_billing.quota_remaining('nobody') ORDER BY feature COLLATE "C";
SELECT feature, tier, monthly_limit, remaining, unlimited, included
	FROM momento_billing.quota_remaining('byhand') ORDER BY feature COLLATE "C";
SELECT momento_billing.quota_remaining('active', 'teleport');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.quota_remaining('active', '');
SELECT momento_billing.quota_remaining('active', NULL);
SELECT momento_billing.quota_remaining(NULL, 'ai_chat');
SELECT momento_billing.quota_remaining('', 'ai_chat');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.quota_remaining(NULL);
SELECT * FROM momento_billing.quota_remaining('');

-- The session's user.
SELECT * FROM momento_billing.quota_remaining();
\echo :LAST_ERROR_SQLSTATE
SET LOCAL momento_billing.user_id = 'active';
SELECT feature, tier, remaining FROM momento_billing.quota_remaining() ORDER BY feature COLLATE "C" LIMIT 2;
SET LOCAL momento_billing.user_id = '';
SELECT * FROM momento_billing.quota_remaining();
RESET momento_billing.user_id;

-- A tier that the catalogue does not know is nobody's mistake to hide.
ALTER TYPE public."SubscriptionTier" ADD VALUE 'GOLD';
SELECT momento_billing.effective_tier('active');
CREATE TABLE public.abo (LIKE public."Subscription");
ALTER TABLE public.abo ALTER tier DROP DEFAULT, ALTER tier TYPE text;
CREATE UNIQUE INDEX ON public.abo ("userId");
INSERT INTO public.abo SELECT * FROM public."Subscription" WHERE "userId" IN ('active', 'ended');
UPDATE public.abo SET tier = 'GOLD';
SET momento_billing.subscription_table = 'public.abo';
SELECT momento_billing.effective_tier('active');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.effective_tier('ended');
SELECT momento_billing.billing_status('ended');
SELECT user_id, tier, status, effective_tier, source FROM momento_billing.entitlement ORDER BY user_id COLLATE "C";
INSERT INTO momento_billing.tier VALUES ('GOLD', 9);
SELECT momento_billing.effective_tier('active');
RESET momento_billing.subscription_table;

-- For people.
SELECT * FROM momento_billing.entitlement ORDER BY user_id COLLATE "C";
ROLLBACK;
