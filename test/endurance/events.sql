-- What script/endurance sends.  :'template' is the body of a real-looking event
-- with format()'s place holders.

CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans(), momento_billing.create_subscription_table();
INSERT INTO momento_billing.price VALUES ('price_pro', 'PRO', 'month'), ('price_business', 'BUSINESS', 'month');

CREATE SCHEMA endurance;
CREATE TABLE endurance.template AS SELECT :'template'::text AS body, extract(epoch FROM now())::bigint - 86400 AS start;

-- Events first … last, about one user after the other, in an order that has
-- nothing to do with that of their rows.  A higher number is a newer event.
CREATE FUNCTION endurance.events(first bigint, last bigint, users bigint) RETURNS SETOF jsonb
	LANGUAGE sql STABLE ROWS 20000 AS $$
	SELECT format(body, 'evt_' || i, start + i, 'sub_' || i * 7919 % users, 'cus_' || i * 7919 % users, 'user_' || i * 7919 % users,
		CASE WHEN i / users % 10 = 9 THEN 'price_business' ELSE 'price_pro' END, start + i, start + i + 30 * 86400)::jsonb
	FROM endurance.template, generate_series(first, last) AS i
$$;
