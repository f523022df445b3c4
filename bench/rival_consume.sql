INSERT INTO rival.usage AS u (user_id, feature, period_start, used, monthly_limit, updated_at)
SELECT $1, $2, date_trunc('month', statement_timestamp(), 'UTC'), 1, l.monthly_limit, statement_timestamp()
FROM rival.plan_limit AS l
WHERE l.feature = $2 AND (l.monthly_limit >= 1 OR l.monthly_limit IS NULL) AND l.tier = coalesce((
	SELECT s.tier::text FROM public."Subscription" AS s
	WHERE s."userId" = $1 AND (s.status IN ('ACTIVE', 'TRIALING') OR
		(s.status IN ('PAST_DUE', 'CANCELED') AND s."currentPeriodEnd" > statement_timestamp() AT TIME ZONE 'UTC'))
), 'BASIC')
ON CONFLICT (user_id, feature, period_start) DO UPDATE
SET used = u.used + 1, monthly_limit = EXCLUDED.monthly_limit, updated_at = EXCLUDED.updated_at
WHERE u.used < EXCLUDED.monthly_limit OR EXCLUDED.monthly_limit IS NULL
RETURNING used, monthly_limit
