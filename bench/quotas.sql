-- The database of the quota figures: the users of reads.sql, which comes
-- first, their counters, and what a project would write by hand.

-- For one user asked again and again: a limit out of reach, and none at all.
INSERT INTO momento_billing.feature (feature, label) VALUES ('hot', 'hot'), ('unlimited', 'unlimited');
INSERT INTO momento_billing.plan_limit (tier, feature, monthly_limit)
SELECT tier, 'hot', 1000000000000 FROM momento_billing.tier
UNION ALL SELECT tier, 'unlimited', NULL FROM momento_billing.tier;

-- The rival's. It has no reservations, notifications or retention, so it
-- needs neither their columns nor their indexes; the limit that counted last
-- is in the row because that is cheaper than to look it up twice.
CREATE SCHEMA rival;
CREATE TABLE rival.plan_limit (
	tier text COLLATE "C",
	feature text COLLATE "C",
	monthly_limit bigint,
	PRIMARY KEY (tier, feature)
);
INSERT INTO rival.plan_limit SELECT tier, feature, monthly_limit FROM momento_billing.plan_limit;
CREATE TABLE rival.usage (
	user_id text COLLATE "C",
	feature text COLLATE "C",
	period_start timestamptz,
	used bigint NOT NULL,
	monthly_limit bigint,
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (user_id, feature, period_start)
) WITH (fillfactor = 50);
CREATE TABLE rival.hot (
	user_id text COLLATE "C" PRIMARY KEY,
	used bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO rival.hot SELECT "userId", 0 FROM public."Subscription" WHERE status = 'ACTIVE' LIMIT 1;

-- On both sides every user gets a counter at this part of the limit, or none
-- if it is null.
CREATE FUNCTION bench.set_counters(counted text, part numeric) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE momento_billing.usage, rival.usage;
	IF part IS NULL THEN
		RETURN;
	END IF;
	INSERT INTO rival.usage
	SELECT a.user_id, counted, date_trunc('month', now(), 'UTC'), floor(l.monthly_limit * part), l.monthly_limit, now()
	FROM (SELECT DISTINCT user_id FROM bench.asked) AS a
		JOIN momento_billing.plan_limit AS l ON l.feature = counted AND l.tier = momento_billing.effective_tier(a.user_id);
	INSERT INTO momento_billing.usage (user_id, feature, period_start, used)
	SELECT user_id, feature, period_start, used FROM rival.usage;
END
$$;

VACUUM ANALYZE;
