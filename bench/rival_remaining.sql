SELECT greatest(l.monthly_limit - coalesce(u.used, 0), 0)
FROM rival.plan_limit AS l
LEFT JOIN rival.usage AS u ON u.user_id = $1 AND u.feature = l.feature AND u.period_start = date_trunc('month', statement_timestamp(), 'UTC')
WHERE l.feature = $2 AND l.tier = coalesce((
	SELECT s.tier::text FROM public."Subscription" AS s
	WHERE s."userId" = $1 AND (s.status IN ('ACTIVE', 'TRIALING') OR
		(s.status IN ('PAST_DUE', 'CANCELED') AND s."currentPeriodEnd" > statement_timestamp() AT TIME ZONE 'UTC'))
), 'BASIC')
