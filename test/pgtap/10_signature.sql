-- Signatures: the vectors, and rotation (R38 to R42).
-- Run from the source's root folder, where the vectors are found.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
\set content `cat test/fixtures/signature/vectors.json`
CREATE TEMP TABLE vector AS
	SELECT n, c ->> 'name' AS name, decode(c ->> 'payload_hex', 'hex') AS payload, c ->> 'header' AS header,
		c -> 'secrets' AS secrets, make_interval(secs => (c ->> 'tolerance')::int) AS tolerance,
		to_timestamp((c ->> 'now')::bigint) AS now, (c ->> 'expect')::bool AS expect, c ->> 'reason' AS reason
	FROM jsonb_array_elements(:'content'::jsonb -> 'cases') WITH ORDINALITY AS v (c, n);
SELECT plan((SELECT count(*)::int FROM vector) + 12);

SELECT cmp_ok((SELECT count(*) FROM vector), '>', 100::bigint, 'the vectors were found');

-- A case of several secrets is right if any of them is; of none, if NULL is.
SELECT is(
		(SELECT coalesce(bool_or(momento_billing.verify_signature(payload, header, s, tolerance, now)),
				momento_billing.verify_signature(payload, header, NULL, tolerance, now))
			FROM jsonb_array_elements_text(secrets) AS s),
		expect, format('vector %s: %s', name, reason))
	FROM vector ORDER BY n;

SELECT fixture.write_secrets('momento_billing_pgtap.secret', '0600', 'whsec_old');
SET LOCAL momento_billing.webhook_secret_file = 'momento_billing_pgtap.secret';
CREATE FUNCTION pg_temp.receive(id text, secret text, age interval DEFAULT '0') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	body bytea := convert_to(jsonb_build_object('id', id, 'object', 'event')::text, 'UTF8');
BEGIN
	RETURN (SELECT CASE WHEN duplicate THEN 'duplicate' ELSE 'stored' END
		FROM momento_billing.receive_webhook(body, fixture.sign(body, secret, clock_timestamp() - age)));
EXCEPTION WHEN SQLSTATE 'MB001' THEN
	RETURN sqlerrm;
END
$$;
SELECT is(pg_temp.receive('evt_1', 'whsec_old'), 'stored', 'R39: the secret of the file signs');
SELECT is(pg_temp.receive('evt_2', 'whsec_new'), 'webhook signature rejected: no v1 signature matches', 'R39: another does not');
SELECT fixture.write_secrets('momento_billing_pgtap.secret', '0600', 'whsec_old', 'whsec_new');
SELECT is(pg_temp.receive('evt_2', 'whsec_new'), 'stored', 'R39: rotation: the second secret counts as soon as it is in the file');
SELECT is(pg_temp.receive('evt_3', 'whsec_old'), 'stored', 'R39: rotation: the first one still counts');
SELECT is(pg_temp.receive('evt_1', 'whsec_new'), 'duplicate', 'R33: a delivery that is signed anew is the same event');
SELECT fixture.write_secrets('momento_billing_pgtap.secret', '0600', 'whsec_new');
SELECT is(pg_temp.receive('evt_4', 'whsec_old'), 'webhook signature rejected: no v1 signature matches', 'R39: rotation: a secret taken out is out');
SELECT is(pg_temp.receive('evt_5', 'whsec_new', '290 s'), 'stored', 'R40: within the tolerance');
SELECT is(pg_temp.receive('evt_6', 'whsec_new', '310 s'),
	'webhook signature rejected: the signature has expired: its timestamp is older than the tolerance', 'R40: too old');
SELECT is(pg_temp.receive('evt_7', 'whsec_new', '-310 s'),
	'webhook signature rejected: the signature''s timestamp is further in the future than the tolerance', 'R40: too far in the future');
SELECT fixture.write_secrets('momento_billing_pgtap.secret', '0600', '');
SELECT is(pg_temp.receive('evt_8', ''), 'webhook signature rejected: no webhook secret is configured', 'R39: an empty secret is none');
SELECT fixture.remove_secrets('momento_billing_pgtap.secret');
SELECT is((SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM momento_billing.webhook_inbox), 'evt_1 evt_2 evt_3 evt_5',
	'R34: what was accepted is stored, and nothing else');
SELECT * FROM finish();
ROLLBACK;
