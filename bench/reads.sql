-- The database of the read figures: 100,000 users, and what effective_tier()
-- is compared with.

CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
CREATE SCHEMA bench;

-- Seven of ten are active; the others are past due, or canceled with or
-- without paid time left.
INSERT INTO public."Subscription" ("id", "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId",
	"stripePriceId", "currentPeriodStart", "currentPeriodEnd", "updatedAt")
SELECT 'c' || substr(md5('id' || n), 1, 24), 'c' || substr(md5(n::text), 1, 24),
	(ARRAY['PRO', 'BUSINESS']::public."SubscriptionTier"[])[1 + n % 2],
	(ARRAY['PAST_DUE', 'CANCELED', 'CANCELED', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE']::public."SubscriptionStatus"[])[1 + n % 10],
	'cus_' || substr(md5('c' || n), 1, 14), 'sub_' || substr(md5('s' || n), 1, 20), 'price_bench_' || n % 2,
	(now() AT TIME ZONE 'UTC') - interval '10 days',
	(now() AT TIME ZONE 'UTC') + CASE WHEN n % 10 = 2 THEN interval '-1 day' ELSE interval '20 days' END,
	now() AT TIME ZONE 'UTC'
FROM generate_series(1, 100000) AS n;

-- Who is asked about, in random order: one of twenty has no row.
CREATE TABLE bench.asked (user_id text NOT NULL);
SELECT setseed(.5);
INSERT INTO bench.asked
SELECT CASE WHEN random() < .05 THEN 'nobody_' || n ELSE 'c' || substr(md5((1 + floor(random() * 100000))::int::text), 1, 24) END
FROM generate_series(1, 100000) AS n;

-- The same rule by hand, without what ours also looks at (a user's other
-- entitlements, the catalogue's ranks): the cheaper, the harder to beat.
CREATE FUNCTION bench.effective_tier(asked_id text) RETURNS text
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
DECLARE
	tier text;
	status public."SubscriptionStatus";
	period_end timestamp;
BEGIN
	SELECT s.tier, s.status, s."currentPeriodEnd" INTO tier, status, period_end
		FROM public."Subscription" AS s WHERE s."userId" = asked_id;
	IF status IN ('ACTIVE', 'TRIALING') OR
		(status IN ('PAST_DUE', 'CANCELED') AND period_end > statement_timestamp() AT TIME ZONE 'UTC') THEN
		RETURN tier;
	END IF;
	RETURN 'BASIC';
END
$$;

VACUUM ANALYZE;

DO $$
BEGIN
	IF EXISTS (SELECT FROM bench.asked WHERE momento_billing.effective_tier(user_id) IS DISTINCT FROM bench.effective_tier(user_id)) THEN
		RAISE EXCEPTION 'the functions compared do not answer alike';
	END IF;
END
$$;
