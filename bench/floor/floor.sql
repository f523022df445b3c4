-- What draining cannot do without: each event's fields are read out of its
-- jsonb, three rows are found and updated in place, a thousand at a time.
-- Nothing is decided.  :'library' is floor.c, compiled.

CREATE TABLE floor.inbox (LIKE rival.inbox INCLUDING ALL) WITH (fillfactor = 40, toast_tuple_target = 256);
CREATE TABLE floor.subscription (LIKE rival.subscription INCLUDING ALL) WITH (fillfactor = 40);
CREATE TABLE floor."Subscription" (LIKE rival."Subscription" INCLUDING ALL) WITH (fillfactor = 40);

-- rows of the users that the events are about
INSERT INTO floor.subscription
SELECT 'sub_' || substr(md5('s' || n), 1, 20), 'cus_' || substr(md5('c' || n), 1, 14), 'c' || substr(md5(n::text), 1, 24),
	'active', 'price_bench_pro', now(), now(), false, 0
FROM generate_series(1, 100000) AS n;
INSERT INTO floor."Subscription" ("id", "userId", tier, status, "stripeCustomerId", "stripeSubscriptionId", "stripePriceId",
	"currentPeriodStart", "currentPeriodEnd", "updatedAt")
SELECT gen_random_uuid(), user_id, 'PRO', 'ACTIVE', customer_id, subscription_id, price_id, now(), now(), now() FROM floor.subscription;
VACUUM ANALYZE floor.subscription, floor."Subscription";

CREATE FUNCTION floor.clear() RETURNS void LANGUAGE sql AS 'TRUNCATE floor.inbox';
CREATE FUNCTION floor.load(sequence bigint, events int, users int, first_user int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO floor.inbox (event_id, payload)
	SELECT substring(body FROM 'evt_[a-z0-9]+'), body::jsonb FROM bench.events($1, $2, $3, $4) AS body
$$;
CREATE FUNCTION floor.loaded() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION floor.drain(n int, inbox regclass, inbox_index regclass, mirror regclass, mirror_index regclass,
	app regclass, app_index regclass) RETURNS int LANGUAGE c STRICT AS :'library', 'floor_drain';
