-- The inbox: receive_webhook() and direct INSERT.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.add_prices();
CREATE TEMP TABLE body AS SELECT convert_to(fixture.event('evt_1', 'customer.subscription.created', '2026-01-01 00:00+00',
	fixture.subscription('sub_1', 'active', user_id => 'u1'))::text, 'UTF8') AS bytes;

-- No secret, no webhook.
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
\echo :LAST_ERROR_SQLSTATE

-- The secret's file: it must be there, be a file, and be private.
SET momento_billing.webhook_secret_file = 'momento_billing_regress.secret';
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
\echo :LAST_ERROR_SQLSTATE
SET momento_billing.webhook_secret_file = 'base';
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
\echo :LAST_ERROR_SQLSTATE
SET momento_billing.webhook_secret_file = 'momento_billing_regress.secret';
SELECT fixture.write_secrets('momento_billing_regress.secret', '0644', 'whsec_test');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
\echo :LAST_ERROR_SQLSTATE
SELECT fixture.write_secrets('momento_billing_regress.secret', '0640', 'whsec_test');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
SELECT fixture.write_secrets('momento_billing_regress.secret', '0600', '', '');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
\echo :LAST_ERROR_SQLSTATE
SELECT fixture.write_secrets('momento_billing_regress.secret', '0600', repeat('x', 65536));
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1,v1=0');
\echo :LAST_ERROR_SQLSTATE
SELECT fixture.write_secrets('momento_billing_regress.secret', '0400', 'whsec_test');

-- Each cause of a rejection has its message.
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), '');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 'nonsense');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 'v1=00');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=now,v1=00');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), 't=1750000000');
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), fixture.sign('another body'));
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body), fixture.sign((SELECT bytes FROM body), 'whsec_other'));
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body),
	fixture.sign((SELECT bytes FROM body), at => clock_timestamp() - interval '1 hour'));
SELECT * FROM momento_billing.receive_webhook((SELECT bytes FROM body),
	fixture.sign((SELECT bytes FROM body), at => clock_timestamp() + interval '1 hour'));
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.receive_webhook(''::bytea, fixture.sign(''));
SELECT * FROM momento_billing.receive_webhook(NULL::bytea, fixture.sign(''));
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.receive_webhook(NULL::text, fixture.sign(''));
SELECT count(*) FROM momento_billing.webhook_inbox;

-- The tolerance is a setting.
SET momento_billing.signature_tolerance = '2h';
SELECT inbox_id > 0 AS stored, event_id, event_type, duplicate FROM momento_billing.receive_webhook(
	(SELECT bytes FROM body), fixture.sign((SELECT bytes FROM body), at => clock_timestamp() - interval '1 hour'));
RESET momento_billing.signature_tolerance;

-- Stored once; a second delivery, signed anew, is a success.
SELECT inbox_id = (SELECT id FROM momento_billing.webhook_inbox) AS same, event_id, event_type, duplicate
	FROM momento_billing.receive_webhook((SELECT bytes FROM body), fixture.sign((SELECT bytes FROM body)));
SELECT inbox_id = (SELECT id FROM momento_billing.webhook_inbox) AS same, event_id, event_type, duplicate
	FROM momento_billing.receive_webhook(convert_from((SELECT bytes FROM body), 'UTF8'), fixture.sign((SELECT bytes FROM body)));
SELECT event_id, event_type, event_created, livemode, api_version, payload = convert_from((SELECT bytes FROM body), 'UTF8')::jsonb AS payload,
	payload_raw, status, reason, attempts, next_attempt_at, last_error, processed_at, waiting_for
	FROM momento_billing.webhook_inbox \gx

-- The same id with another body (two endpoints on two versions): the first wins.
SELECT event_id, duplicate FROM momento_billing.receive_webhook('{"id": "evt_1", "type": "other"}',
	fixture.sign('{"id": "evt_1", "type": "other"}'));
SELECT event_type FROM momento_billing.webhook_inbox WHERE event_id = 'evt_1';

-- Rotation: any secret of the file will do; the change counts at once.
SELECT fixture.write_secrets('momento_billing_regress.secret', '0600', 'whsec_new', '', 'whsec_test');
SELECT s, duplicate FROM unnest('{whsec_test,whsec_new}'::text[]) AS s,
	momento_billing.receive_webhook('{"id": "evt_1"}'::bytea, fixture.sign('{"id": "evt_1"}', s));
SELECT fixture.write_secrets('momento_billing_regress.secret', '0600', 'whsec_new');
SELECT duplicate FROM momento_billing.receive_webhook('{"id": "evt_1"}'::bytea, fixture.sign('{"id": "evt_1"}', 'whsec_new'));
SELECT duplicate FROM momento_billing.receive_webhook('{"id": "evt_1"}'::bytea, fixture.sign('{"id": "evt_1"}', 'whsec_test'));

-- The body as text is signed as UTF-8.
SELECT event_id, duplicate FROM momento_billing.receive_webhook('{"id": "evt_é"}'::text,
	fixture.sign(convert_to('{"id": "evt_é"}', 'UTF8'), 'whsec_new'));

-- Signed, but no JSON: our own error, which shows nothing of it.
SELECT * FROM momento_billing.receive_webhook('{"id": "evt_secret"'::bytea, fixture.sign('{"id": "evt_secret"', 'whsec_new'));
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM momento_billing.receive_webhook('\xff7b7d'::bytea, fixture.sign('\xff7b7d', 'whsec_new'));
\echo :LAST_ERROR_SQLSTATE

-- JSON that jsonb cannot hold is kept as it came, for a person to look at.
SELECT inbox_id > 0 AS stored, event_id, event_type, duplicate FROM unnest(ARRAY[
		'{"id": "evt_nul", "x": "\u0000"}', '{"id": "evt_half", "x": "\ud800"}', '{"id": "evt_huge", "x": 1e999999}']) AS b,
	momento_billing.receive_webhook(b, fixture.sign(convert_to(b, 'UTF8'), 'whsec_new'));
SELECT event_id, convert_from(payload_raw, 'UTF8') AS raw, payload, status, reason
	FROM momento_billing.webhook_inbox WHERE payload_raw IS NOT NULL ORDER BY id;

-- What is JSON, but no event, is stored too: the drain says what it is.
SELECT b, event_id, event_type, duplicate FROM unnest('{"[]","1","null","\"evt_1\"","{}"}'::text[]) AS b,
	momento_billing.receive_webhook(b, fixture.sign(convert_to(b, 'UTF8'), 'whsec_new'));
SELECT payload, status FROM momento_billing.webhook_inbox WHERE event_id IS NULL AND payload IS NOT NULL ORDER BY id;

-- An app that has verified the signature itself may insert: the other columns
-- fill themselves, and what is given stays.
DELETE FROM momento_billing.webhook_inbox;
INSERT INTO momento_billing.webhook_inbox (payload)
	VALUES ('{"id": "evt_2", "type": "t", "created": 1767225600, "livemode": true, "api_version": "v", "data": {}}')
	ON CONFLICT (event_id) DO NOTHING;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{"id": "evt_2"}') ON CONFLICT (event_id) DO NOTHING;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{"id": "evt_2"}');
INSERT INTO momento_billing.webhook_inbox (payload, event_id, event_type, event_created, livemode, api_version)
	VALUES ('{"id": "evt_3", "type": "t", "created": 1767225600, "livemode": true, "api_version": "v"}',
		'evt_mine', 'mine', '2001-01-01', false, 'mine');
INSERT INTO momento_billing.webhook_inbox (payload)
	VALUES ('{"id": 7, "type": [], "created": "x", "livemode": 1, "api_version": {}}'), ('[]'), ('"x"'), ('null'), ('{}');
SELECT event_id, event_type, event_created, livemode, api_version, payload, status, attempts, received_at IS NOT NULL AS received
	FROM momento_billing.webhook_inbox ORDER BY id;
\set VERBOSITY terse
INSERT INTO momento_billing.webhook_inbox DEFAULT VALUES;
INSERT INTO momento_billing.webhook_inbox (payload, status) VALUES ('{}', 'done');
\set VERBOSITY default

-- TRUNCATE, with ids given out anew, loses nothing.
SELECT momento_billing.drain_inbox() > 0 AS drained;
TRUNCATE momento_billing.webhook_inbox RESTART IDENTITY;
SELECT count(*) FROM momento_billing.drain_state;
INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{"id": "evt_4", "object": "event", "type": "t", "created": 1}');
SELECT momento_billing.drain_inbox();
SELECT event_id, status, reason FROM momento_billing.webhook_inbox;
SELECT fixture.remove_secrets('momento_billing_regress.secret');
ROLLBACK;

-- Committed: the worker, if there is one, or drain_inbox() applies it once.
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all
SELECT fixture.add_prices();
INSERT INTO momento_billing.webhook_inbox (payload) VALUES (fixture.event('evt_1', 'customer.subscription.created',
	'2026-01-01 00:00+00', fixture.subscription('sub_1', 'active', user_id => 'u1')));
SELECT momento_billing.drain_inbox() <= 1 AS drained;
SELECT event_id, status, reason, attempts FROM momento_billing.webhook_inbox;
SELECT "userId", tier, status FROM public."Subscription";
SELECT status, events, lag FROM momento_billing.inbox_stats;
DROP EXTENSION momento_billing;
DROP TABLE public."Subscription";
DROP TYPE public."SubscriptionTier", public."SubscriptionStatus";
\set VERBOSITY terse
\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA fixture CASCADE;
DROP SCHEMA IF EXISTS momento_billing;
