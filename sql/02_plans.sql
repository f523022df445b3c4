-- The catalogue: tiers, prices, features, limits.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.create_subscription_table();

-- Before anything is configured, reads say what to do.
SELECT momento_billing.effective_tier('u1');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.billing_status('u1');
SELECT momento_billing.quota_remaining('u1', 'ai_chat');
SELECT momento_billing.quota_remaining('u1');
SELECT momento_billing.resolve_price_id('PRO', 'month');
SELECT momento_billing.price_id_to_tier('price_x');
SELECT * FROM momento_billing.entitlement;

-- The guide's plans; a second time there is nothing to add.
SELECT momento_billing.seed_plans();
SELECT momento_billing.seed_plans();
SELECT * FROM momento_billing.tier ORDER BY rank;
SELECT * FROM momento_billing.price;
SELECT * FROM momento_billing.feature ORDER BY feature COLLATE "C";
SELECT feature,
		max(monthly_limit) FILTER (WHERE tier = 'BASIC') AS basic,
		max(monthly_limit) FILTER (WHERE tier = 'PRO') AS pro,
		max(monthly_limit) FILTER (WHERE tier = 'BUSINESS') AS business,
		count(*) FILTER (WHERE tier = 'ENTERPRISE' AND monthly_limit IS NULL) AS enterprise_unlimited,
		count(*) AS tiers
	FROM momento_billing.plan_limit GROUP BY feature ORDER BY feature COLLATE "C";
SELECT momento_billing.effective_tier('u1');

-- What the operator changed stays; what is missing comes back.
UPDATE momento_billing.plan_limit SET monthly_limit = 7 WHERE tier = 'BASIC' AND feature = 'auto_tags';
UPDATE momento_billing.feature SET label = 'Etiquettes' WHERE feature = 'auto_tags';
UPDATE momento_billing.tier SET rank = 30 WHERE tier = 'ENTERPRISE';
DELETE FROM momento_billing.plan_limit WHERE tier = 'PRO' AND feature = 'ai_chat';
SELECT momento_billing.seed_plans();
SELECT tier, feature, monthly_limit FROM momento_billing.plan_limit
	WHERE (tier, feature) IN (('BASIC', 'auto_tags'), ('PRO', 'ai_chat')) ORDER BY tier;
SELECT label FROM momento_billing.feature WHERE feature = 'auto_tags';
SELECT rank FROM momento_billing.tier WHERE tier = 'ENTERPRISE';

-- An operator's own default stays the only one.
SAVEPOINT own_tiers;
TRUNCATE momento_billing.tier CASCADE;
INSERT INTO momento_billing.tier VALUES ('FREE', 5, true);
SELECT momento_billing.effective_tier('u1');
SELECT momento_billing.seed_plans();
SELECT * FROM momento_billing.tier ORDER BY rank;
SELECT momento_billing.effective_tier('u1');
ROLLBACK TO own_tiers;
SELECT momento_billing.effective_tier('u1');

-- What the tables refuse.
INSERT INTO momento_billing.tier VALUES ('GOLD', 9, true);
INSERT INTO momento_billing.tier VALUES ('GOLD', 1);
INSERT INTO momento_billing.tier VALUES ('', 9);
INSERT INTO momento_billing.price VALUES ('price_gold', 'GOLD', 'month');
INSERT INTO momento_billing.price VALUES ('price_week', 'PRO', 'week');
INSERT INTO momento_billing.price VALUES ('', 'PRO', 'month');
INSERT INTO momento_billing.plan_limit VALUES ('PRO', 'teleport', 1);
UPDATE momento_billing.plan_limit SET monthly_limit = -1 WHERE tier = 'PRO' AND feature = 'auto_tags';

-- Prices to tiers, and back.
SELECT momento_billing.price_id_to_tier('price_pro_month');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.resolve_price_id('PRO', 'month');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO momento_billing.price (price_id, tier, billing_interval) VALUES
	('price_pro_month', 'PRO', 'month'), ('price_pro_year', 'PRO', 'year'),
	('price_business_month', 'BUSINESS', 'month'), ('price_business_year', 'BUSINESS', 'year');
SELECT t, i, momento_billing.resolve_price_id(t, i), momento_billing.price_id_to_tier(momento_billing.resolve_price_id(t, i))
	FROM (VALUES ('PRO', 'month'), ('PRO', 'year'), ('BUSINESS', 'month'), ('BUSINESS', 'year')) AS v (t, i);

-- An old price still maps to its tier, but is not sold.
INSERT INTO momento_billing.price VALUES ('price_pro_month_2', 'PRO', 'month', true);
UPDATE momento_billing.price SET active = false WHERE price_id = 'price_pro_month';
SELECT momento_billing.resolve_price_id('PRO', 'month');
INSERT INTO momento_billing.price VALUES ('price_pro_month_2', 'PRO', 'month', true);
SELECT momento_billing.resolve_price_id('PRO', 'month'), momento_billing.price_id_to_tier('price_pro_month');

SELECT momento_billing.resolve_price_id('ENTERPRISE', 'month');
SELECT momento_billing.resolve_price_id('GOLD', 'month');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.resolve_price_id(NULL, 'month');
SELECT momento_billing.resolve_price_id('', 'month');
SELECT momento_billing.resolve_price_id('PRO', 'week');
\echo :LAST_ERROR_SQLSTATE
SELECT momento_billing.resolve_price_id('PRO', NULL);
SELECT momento_billing.price_id_to_tier(NULL);
SELECT momento_billing.price_id_to_tier('');
\echo :LAST_ERROR_SQLSTATE

-- The app's own table, under the name that the setting gives.
SET momento_billing.subscription_table = 'unqualified';
SELECT momento_billing.create_subscription_table();
SET momento_billing.subscription_table = 'public."Abo"';
SELECT momento_billing.create_subscription_table();
CREATE SCHEMA "My App";
SET momento_billing.subscription_table = '"My App"."Subscription"';
SELECT momento_billing.create_subscription_table();
SELECT momento_billing.effective_tier('u1');
RESET momento_billing.subscription_table;
SELECT momento_billing.create_subscription_table();
\d public."Subscription"
ROLLBACK;
