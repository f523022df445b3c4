-- REPEATABLE READ: reads take the transaction's snapshot, and see its own writes.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT plan(9);
SELECT fixture.set_up();
SELECT is(fixture.sync('customer.subscription.created', 'evt_1', '2026-01-01 00:00+00', fixture.subscription('sub_1', 'active', user_id => 'u1')), 'applied', 'sync');
SELECT is(momento_billing.effective_tier('u1'), 'PRO', 'and its own effect');
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (fixture.event('evt_2', 'customer.subscription.updated', '2026-01-02 00:00+00',
	fixture.subscription('sub_1', 'active', user_id => 'u1', price => 'price_business_month')));
SELECT is(momento_billing.drain_inbox(), 1::bigint, 'the drain');
SELECT is(momento_billing.effective_tier('u1'), 'BUSINESS', 'and its effect');
SELECT is(momento_billing.billing_status('u1') ->> 'tier', 'BUSINESS', 'billing_status');
UPDATE momento_billing.plan_limit SET monthly_limit = 5 WHERE tier = 'BUSINESS' AND feature = 'ai_chat';
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 5::bigint, 'the catalogue');
INSERT INTO momento_billing.usage (user_id, feature, period_start, used)
	SELECT 'u1', 'ai_chat', period_start, 2 FROM momento_billing.quota_remaining('u1') WHERE feature = 'ai_chat';
SELECT is(momento_billing.quota_remaining('u1', 'ai_chat'), 3::bigint, 'usage');
SELECT is((SELECT effective_tier FROM momento_billing.entitlement), 'BUSINESS', 'the view');
SELECT is(fixture.sync('customer.subscription.updated', 'evt_2', '2026-01-02 00:00+00', fixture.subscription('sub_1', 'active')), 'duplicate', 'a duplicate');
SELECT * FROM finish();
ROLLBACK;
