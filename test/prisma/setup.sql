-- What an operator does once, after Prisma's migrations.
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
INSERT INTO momento_billing.price (price_id, tier, billing_interval) VALUES
	('price_1PrismaProMonthly', 'PRO', 'month'),
	('price_1PrismaProAnnual', 'PRO', 'year'),
	('price_1PrismaBusinessMonthly', 'BUSINESS', 'month'),
	('price_1PrismaBusinessAnnual', 'BUSINESS', 'year');

CREATE TRIGGER brainstorm_quota AFTER INSERT ON "Brainstorm"
	FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_create', 'userId');

CREATE ROLE app LOGIN;
GRANT SELECT, INSERT, UPDATE, DELETE ON "Subscription", "Brainstorm" TO app;
SELECT momento_billing.grant_app_access('app');
