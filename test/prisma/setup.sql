-- What an operator does once, after Prisma's migrations.
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
INSERT INTO momento_billing.price (price_id, tier, billing_interval) VALUES
	('price_1PrismaProMonthly', 'PRO', 'month'),
	('price_1PrismaProAnnual', 'PRO', 'year'),
	('price_1PrismaBusinessMonthly', 'BUSINESS', 'month'),
	('price_1PrismaBusinessAnnual', 'BUSINESS', 'year');

CREATE ROLE app LOGIN;
GRANT SELECT, INSERT, UPDATE, DELETE ON "Subscription" TO app;
SELECT momento_billing.grant_app_access('app');
