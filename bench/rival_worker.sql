-- A queue's worker as it is usually written: it claims a hundred pending events
-- with FOR UPDATE SKIP LOCKED, so that several may run, and upserts mirror and
-- row event by event, unless the mirror has a newer one.

CREATE SCHEMA worker;
CREATE TABLE worker.inbox (LIKE rival.inbox INCLUDING ALL) WITH (fillfactor = 50, toast_tuple_target = 256);
CREATE INDEX ON worker.inbox (id) WHERE status = 'pending';
CREATE TABLE worker.subscription (LIKE rival.subscription INCLUDING ALL) WITH (fillfactor = 70);
CREATE TABLE worker."Subscription" (LIKE public."Subscription" INCLUDING ALL);

CREATE FUNCTION worker.clear() RETURNS void LANGUAGE sql AS 'TRUNCATE worker.inbox';
CREATE FUNCTION worker.load(sequence bigint, events int, users int, first_user int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO worker.inbox (event_id, payload)
	SELECT substring(body FROM 'evt_[a-z0-9]+'), body::jsonb FROM bench.events($1, $2, $3, $4) AS body
$$;
CREATE FUNCTION worker.loaded() RETURNS void LANGUAGE sql AS '';

CREATE FUNCTION worker.drain(batch_size int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	claimed bigint[] := '{}';
	e record;
BEGIN
	FOR e IN
		SELECT x.id, x.created, o ->> 'id' AS subscription_id, o ->> 'customer' AS customer_id, o -> 'metadata' ->> 'userId' AS user_id,
			o ->> 'status' AS status, (o ->> 'cancel_at_period_end')::bool AS cancel_at_period_end, item -> 'price' ->> 'id' AS price_id,
			to_timestamp((item ->> 'current_period_start')::bigint) AS current_period_start,
			to_timestamp((item ->> 'current_period_end')::bigint) AS current_period_end
		FROM (
			SELECT y.id, (payload ->> 'created')::bigint AS created, payload #> '{data,object}' AS o
			FROM (
				-- || has the payload read once
				SELECT i.id, i.payload || '{}' AS payload FROM worker.inbox AS i
				WHERE i.status = 'pending' ORDER BY i.id LIMIT batch_size FOR UPDATE SKIP LOCKED
			) AS y OFFSET 0
		) AS x, LATERAL (SELECT o #> '{items,data,0}' AS item OFFSET 0) AS z
	LOOP
		INSERT INTO worker.subscription AS s (subscription_id, customer_id, user_id, status, price_id,
			current_period_start, current_period_end, cancel_at_period_end, created)
		VALUES (e.subscription_id, e.customer_id, e.user_id, e.status, e.price_id,
			e.current_period_start, e.current_period_end, e.cancel_at_period_end, e.created)
		ON CONFLICT (subscription_id) DO UPDATE SET customer_id = EXCLUDED.customer_id, user_id = EXCLUDED.user_id,
			status = EXCLUDED.status, price_id = EXCLUDED.price_id, current_period_start = EXCLUDED.current_period_start,
			current_period_end = EXCLUDED.current_period_end, cancel_at_period_end = EXCLUDED.cancel_at_period_end,
			created = EXCLUDED.created
		WHERE s.created < EXCLUDED.created;
		IF FOUND THEN
			INSERT INTO worker."Subscription" AS t ("id", "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId",
				"stripePriceId", "currentPeriodStart", "currentPeriodEnd", "cancelAtPeriodEnd", "updatedAt")
			SELECT gen_random_uuid()::text, e.user_id, p.tier::public."SubscriptionTier",
				(CASE e.status WHEN 'active' THEN 'ACTIVE' WHEN 'trialing' THEN 'TRIALING' WHEN 'past_due' THEN 'PAST_DUE'
					WHEN 'canceled' THEN 'CANCELED' WHEN 'unpaid' THEN 'CANCELED' ELSE 'INACTIVE' END)::public."SubscriptionStatus",
				e.customer_id, e.subscription_id, e.price_id, e.current_period_start AT TIME ZONE 'UTC',
				e.current_period_end AT TIME ZONE 'UTC', e.cancel_at_period_end, now() AT TIME ZONE 'UTC'
			FROM momento_billing.price AS p WHERE p.price_id = e.price_id
			ON CONFLICT ("userId") DO UPDATE SET tier = EXCLUDED.tier, status = EXCLUDED.status,
				"stripeCustomerId" = EXCLUDED."stripeCustomerId", "stripeSubscriptionId" = EXCLUDED."stripeSubscriptionId",
				"stripePriceId" = EXCLUDED."stripePriceId", "currentPeriodStart" = EXCLUDED."currentPeriodStart",
				"currentPeriodEnd" = EXCLUDED."currentPeriodEnd", "cancelAtPeriodEnd" = EXCLUDED."cancelAtPeriodEnd",
				"updatedAt" = EXCLUDED."updatedAt";
		END IF;
		claimed := claimed || e.id;
	END LOOP;
	UPDATE worker.inbox SET status = 'processed', processed_at = clock_timestamp() WHERE id = ANY (claimed);
	RETURN cardinality(claimed);
END
$$;
