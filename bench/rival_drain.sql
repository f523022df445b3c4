WITH batch AS MATERIALIZED (
	SELECT id, payload FROM rival.inbox
	WHERE id > (SELECT id FROM rival.cursor) AND status = 'pending' ORDER BY id LIMIT 1000
), object AS MATERIALIZED (
	SELECT (e.payload ->> 'created')::bigint AS created, e.payload -> 'data' -> 'object' AS o
	FROM (SELECT payload || '{}' AS payload FROM batch OFFSET 0) AS e
	WHERE e.payload ->> 'type' LIKE 'customer.subscription.%'
), event AS MATERIALIZED (
	SELECT created, o ->> 'id' AS subscription_id, o ->> 'customer' AS customer_id, o -> 'metadata' ->> 'userId' AS user_id,
		o ->> 'status' AS status, (o ->> 'cancel_at_period_end')::bool AS cancel_at_period_end, o -> 'items' -> 'data' -> 0 AS item
	FROM object
), newest AS MATERIALIZED (
	SELECT DISTINCT ON (subscription_id) created, subscription_id, customer_id, user_id, status, cancel_at_period_end,
		item -> 'price' ->> 'id' AS price_id,
		to_timestamp((item ->> 'current_period_start')::bigint) AS current_period_start,
		to_timestamp((item ->> 'current_period_end')::bigint) AS current_period_end
	FROM event ORDER BY subscription_id, created DESC
), mirrored AS (
	INSERT INTO rival.subscription AS s (subscription_id, customer_id, user_id, status, price_id,
		current_period_start, current_period_end, cancel_at_period_end, created)
	SELECT subscription_id, customer_id, user_id, status, price_id,
		current_period_start, current_period_end, cancel_at_period_end, created FROM newest
	ON CONFLICT (subscription_id) DO UPDATE SET customer_id = EXCLUDED.customer_id, user_id = EXCLUDED.user_id,
		status = EXCLUDED.status, price_id = EXCLUDED.price_id, current_period_start = EXCLUDED.current_period_start,
		current_period_end = EXCLUDED.current_period_end, cancel_at_period_end = EXCLUDED.cancel_at_period_end,
		created = EXCLUDED.created
	WHERE s.created < EXCLUDED.created
	RETURNING s.*
), written AS (
	INSERT INTO rival."Subscription" AS t ("id", "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId",
		"stripePriceId", "currentPeriodStart", "currentPeriodEnd", "cancelAtPeriodEnd", "updatedAt")
	SELECT gen_random_uuid()::text, m.user_id, p.tier::public."SubscriptionTier",
		(CASE m.status WHEN 'active' THEN 'ACTIVE' WHEN 'trialing' THEN 'TRIALING' WHEN 'past_due' THEN 'PAST_DUE'
			WHEN 'canceled' THEN 'CANCELED' WHEN 'unpaid' THEN 'CANCELED' ELSE 'INACTIVE' END)::public."SubscriptionStatus",
		m.customer_id, m.subscription_id, m.price_id, m.current_period_start AT TIME ZONE 'UTC',
		m.current_period_end AT TIME ZONE 'UTC', m.cancel_at_period_end, now() AT TIME ZONE 'UTC'
	FROM mirrored AS m JOIN momento_billing.price AS p USING (price_id) WHERE m.user_id IS NOT NULL
	ON CONFLICT ("userId") DO UPDATE SET tier = EXCLUDED.tier, status = EXCLUDED.status,
		"stripeCustomerId" = EXCLUDED."stripeCustomerId", "stripeSubscriptionId" = EXCLUDED."stripeSubscriptionId",
		"stripePriceId" = EXCLUDED."stripePriceId", "currentPeriodStart" = EXCLUDED."currentPeriodStart",
		"currentPeriodEnd" = EXCLUDED."currentPeriodEnd", "cancelAtPeriodEnd" = EXCLUDED."cancelAtPeriodEnd",
		"updatedAt" = EXCLUDED."updatedAt"
), marked AS (
	UPDATE rival.inbox SET status = 'processed', processed_at = clock_timestamp() WHERE id = ANY (ARRAY(SELECT id FROM batch))
), moved AS (
	UPDATE rival.cursor SET id = b.last FROM (SELECT max(id) AS last FROM batch) AS b WHERE b.last IS NOT NULL
)
SELECT count(*) FROM batch
