-- The app's table in the forms that it may have.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.add_prices();
CREATE FUNCTION pg_temp.purchase(user_id text, n int) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r.outcome, r.reason, r.user_id, r.tier, r.status FROM momento_billing.sync_subscription_from_event(
		fixture.event('evt_' || n, 'customer.subscription.created', '2026-01-01 00:00+00',
			fixture.subscription('sub_' || n, 'active', customer => 'cus_' || n, user_id => user_id))) AS r
$$;
\set purchase 'AS (outcome text, reason text, user_id text, tier text, status text)'

-- None at all: one error that says what to do; nothing is stored.
SELECT momento_billing.effective_tier('u1');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.billing_status('u1');
SELECT * FROM pg_temp.purchase('u1', 1) :purchase;
SELECT momento_billing.drain_inbox();
SELECT count(*) FROM momento_billing.webhook_inbox;
SET momento_billing.subscription_table = 'nowhere.subscription';
SELECT momento_billing.effective_tier('u1');
SET momento_billing.subscription_table = 'subscription';
SELECT momento_billing.effective_tier('u1');
\echo :LAST_ERROR_SQLSTATE
SET momento_billing.subscription_table = 'a.b.c';
SELECT momento_billing.effective_tier('u1');
SET momento_billing.subscription_table = '';
SELECT momento_billing.effective_tier('u1');
SET momento_billing.subscription_table = 'public."open';
SELECT momento_billing.effective_tier('u1');

-- snake_case, text instead of enums, times with zone, ids by default.
CREATE TABLE public.subscription (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	extra int NOT NULL DEFAULT 7,
	user_id varchar(40) NOT NULL UNIQUE,
	tier text NOT NULL,
	status varchar(20) NOT NULL,
	stripe_customer_id text,
	stripe_subscription_id text,
	stripe_price_id text,
	current_period_start timestamptz,
	current_period_end timestamptz(0),
	cancel_at_period_end boolean NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL);
SET momento_billing.subscription_table = 'public.subscription';
SELECT * FROM pg_temp.purchase('u1', 1) :purchase;
SELECT extra, user_id, tier, status, stripe_customer_id, stripe_subscription_id, stripe_price_id, current_period_start,
	current_period_end, cancel_at_period_end FROM public.subscription;
SELECT momento_billing.effective_tier('u1'), momento_billing.billing_status('u1');
SELECT * FROM momento_billing.entitlement;

-- A change of the table is seen at once: a column gone, renamed, of another
-- type; and then back.
ALTER TABLE public.subscription DROP COLUMN extra, ADD COLUMN note text DEFAULT 'n';
SELECT * FROM pg_temp.purchase('u2', 2) :purchase;
SELECT user_id, tier, note FROM public.subscription ORDER BY user_id;
ALTER TABLE public.subscription RENAME stripe_price_id TO price;
SELECT momento_billing.effective_tier('u1');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;
ALTER TABLE public.subscription RENAME price TO stripe_price_id;
SELECT momento_billing.effective_tier('u1');
ALTER TABLE public.subscription ALTER current_period_end TYPE date;
SELECT momento_billing.effective_tier('u1');
\echo :LAST_ERROR_SQLSTATE
ALTER TABLE public.subscription ALTER current_period_end TYPE timestamp USING current_period_end::timestamp;
SELECT momento_billing.effective_tier('u1');
ALTER TABLE public.subscription RENAME TO abo;
SELECT momento_billing.effective_tier('u1');
ALTER TABLE public.abo RENAME TO subscription;
SELECT momento_billing.effective_tier('u1');

-- Without a usable unique index it is read, but never written.
ALTER TABLE public.subscription DROP CONSTRAINT subscription_user_id_key;
SELECT momento_billing.effective_tier('u1');
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;
\echo :LAST_ERROR_SQLSTATE
CREATE UNIQUE INDEX half ON public.subscription (user_id) WHERE tier <> 'BASIC';
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;
DROP INDEX half;
CREATE UNIQUE INDEX pair ON public.subscription (user_id, tier);
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;
DROP INDEX pair;
CREATE UNIQUE INDEX lowered ON public.subscription (lower(user_id));
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;
DROP INDEX lowered;
ALTER TABLE public.subscription ADD CONSTRAINT late UNIQUE (user_id) DEFERRABLE;
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;
ALTER TABLE public.subscription DROP CONSTRAINT late, ADD UNIQUE (user_id);
SELECT * FROM pg_temp.purchase('u3', 3) :purchase;

-- An id without default, of a type that we cannot make.
CREATE TABLE public.numbered (LIKE public.subscription);
ALTER TABLE public.numbered DROP id, ADD id bigint NOT NULL, ADD UNIQUE (user_id);
SET momento_billing.subscription_table = 'public.numbered';
SELECT * FROM pg_temp.purchase('u4', 4) :purchase;
SELECT last_error FROM momento_billing.webhook_inbox WHERE event_id = 'evt_4';
ALTER TABLE public.numbered ALTER id ADD GENERATED ALWAYS AS IDENTITY;
SELECT user_id, tier, status FROM pg_temp.purchase('u4', 4) :purchase;
SELECT id, user_id, tier FROM public.numbered ORDER BY 2;

-- A uuid user, and a uuid id without default.
CREATE TABLE public.by_uuid (LIKE public.subscription);
ALTER TABLE public.by_uuid ALTER user_id TYPE uuid USING NULL, ADD UNIQUE (user_id);
SET momento_billing.subscription_table = 'public.by_uuid';
SELECT * FROM pg_temp.purchase('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 5) :purchase;
SELECT user_id, tier, id IS NOT NULL AS id FROM public.by_uuid;
SELECT momento_billing.effective_tier('a0eebc999c0b4ef8bb6d6bb9bd380a11'), momento_billing.effective_tier('{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}');
SELECT momento_billing.effective_tier('42');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.quota_remaining('no-uuid', 'ai_chat');

-- Integer users: '042' and '42' are one.
CREATE TABLE public.by_number (LIKE public.subscription);
ALTER TABLE public.by_number ALTER user_id TYPE int USING NULL, ADD UNIQUE (user_id);
SET momento_billing.subscription_table = 'public.by_number';
SELECT * FROM pg_temp.purchase('042', 6) :purchase;
SELECT user_id, tier FROM public.by_number;
SELECT user_id FROM momento_billing.stripe_customer WHERE customer_id = 'cus_6';
SELECT momento_billing.effective_tier('42'), momento_billing.effective_tier(' 42'), momento_billing.effective_tier('0042'), momento_billing.effective_tier('43');
SELECT momento_billing.effective_tier('42.0');
SELECT momento_billing.effective_tier('');
SELECT momento_billing.effective_tier('99999999999');

-- Views and partitioned tables are read the other way; only tables are written.
CREATE VIEW public.seen AS SELECT * FROM public.subscription;
SET momento_billing.subscription_table = 'public.seen';
SELECT momento_billing.effective_tier('u1'), momento_billing.effective_tier('nobody');
SELECT user_id, tier FROM momento_billing.entitlement ORDER BY user_id;
SELECT * FROM pg_temp.purchase('u7', 7) :purchase;
CREATE TABLE public.parted (LIKE public.subscription INCLUDING DEFAULTS) PARTITION BY HASH (user_id);
CREATE TABLE public.parted_0 PARTITION OF public.parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE UNIQUE INDEX ON public.parted (user_id);
SET momento_billing.subscription_table = 'public.parted';
SELECT * FROM pg_temp.purchase('u8', 8) :purchase;
SELECT momento_billing.effective_tier('u8'), momento_billing.effective_tier('nobody');

-- Something that is no table of rows.
CREATE SEQUENCE public.counter;
SET momento_billing.subscription_table = 'public.counter';
SELECT momento_billing.effective_tier('u1');
RESET momento_billing.subscription_table;

-- An enum that lacks a label.
CREATE TYPE public."SubscriptionTier" AS ENUM ('BASIC', 'BUSINESS');
CREATE TYPE public."SubscriptionStatus" AS ENUM ('ACTIVE', 'TRIALING', 'PAST_DUE', 'CANCELED', 'INACTIVE');
CREATE TABLE public."Subscription" (id text PRIMARY KEY, "userId" text NOT NULL UNIQUE, tier public."SubscriptionTier",
	status public."SubscriptionStatus", "stripeCustomerId" text, "stripeSubscriptionId" text, "stripePriceId" text,
	"currentPeriodStart" timestamp(3), "currentPeriodEnd" timestamp(3), "cancelAtPeriodEnd" boolean,
	"createdAt" timestamp(3), "updatedAt" timestamp(3));
SELECT * FROM pg_temp.purchase('u9', 9) :purchase;
SELECT last_error FROM momento_billing.webhook_inbox WHERE event_id = 'evt_9';
ROLLBACK;
