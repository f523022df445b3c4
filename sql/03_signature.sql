-- verify_signature(): a pure answer, never an error for what a sender sends.
\set ON_ERROR_ROLLBACK on
\set SHOW_CONTEXT never
BEGIN;
CREATE EXTENSION momento_billing;
\set ECHO none
\i test/fixtures/sql/helpers.sql
\set ECHO all

-- The reference HMAC of the tests is right (RFC 4231, cases 2 and 6).
SELECT fixture.hmac('Jefe', 'what do ya want for nothing?');
SELECT fixture.hmac(decode(repeat('aa', 131), 'hex'), 'Test Using Larger Than Block-Size Key - Hash Key First');

CREATE FUNCTION pg_temp.verify(signature text, tolerance interval DEFAULT '300 s', secret text DEFAULT 'whsec_test_secret',
		received_at timestamptz DEFAULT to_timestamp(1750000000),
		payload bytea DEFAULT E'{\n  "id": "evt_test_webhook",\n  "object": "event"\n}') RETURNS bool LANGUAGE sql AS
	'SELECT momento_billing.verify_signature(payload, signature, secret, tolerance, received_at)';
\set good 't=1750000000,v1=f13b5fee709cc2c7d0374eeecb6c5436fec79fff614f89fcf5d8df2c0647032d'

SELECT pg_temp.verify(:'good');
SELECT pg_temp.verify(:'good' || ',v0=ff,v1=0');
SELECT pg_temp.verify(:'good' || ',v1');
SELECT pg_temp.verify(upper(:'good'));
SELECT pg_temp.verify(:'good', secret => 'whsec_other');
SELECT pg_temp.verify(:'good', secret => '');
SELECT pg_temp.verify(:'good', payload => '');
SELECT pg_temp.verify('');

-- A NULL is no signature; a NULL tolerance checks no age; an age that is not
-- known is no fresh one.
SELECT pg_temp.verify(NULL), pg_temp.verify(:'good', secret => NULL), pg_temp.verify(:'good', payload => NULL);
SELECT pg_temp.verify(:'good', NULL, received_at => '2099-01-01'), pg_temp.verify(:'good', NULL, received_at => NULL),
	pg_temp.verify(:'good', received_at => NULL);

-- The tolerance, both ways, whatever unit it comes in.
SELECT s, pg_temp.verify(:'good', received_at => to_timestamp(1750000000 + s)) AS at_300
	FROM unnest('{-301,-300,0,300,301}'::int[]) AS s;
SELECT pg_temp.verify(:'good', '0'), pg_temp.verify(:'good', '0', received_at => to_timestamp(1750000001));
SELECT pg_temp.verify(:'good', '1 month', received_at => to_timestamp(1750000000 + 86400 * 30)),
	pg_temp.verify(:'good', '1 month', received_at => to_timestamp(1750000001 + 86400 * 30));
SELECT pg_temp.verify(:'good', '-1 s');
\echo :LAST_ERROR_SQLSTATE
SELECT pg_temp.verify(:'good', received_at => 'infinity'), pg_temp.verify(:'good', received_at => '-infinity');

-- The defaults: five minutes, and now.
SELECT momento_billing.verify_signature('{}', fixture.sign('{}', 'whsec_x'), 'whsec_x'),
	momento_billing.verify_signature('{}', fixture.sign('{}', 'whsec_x', now() - interval '299 s'), 'whsec_x'),
	momento_billing.verify_signature('{}', fixture.sign('{}', 'whsec_x', now() - interval '302 s'), 'whsec_x'),
	momento_billing.verify_signature('{}', fixture.sign('{}', 'whsec_x', now() - interval '1 h'), 'whsec_x', '2 h'),
	momento_billing.verify_signature('{}', fixture.sign('{}', 'whsec_x', now() + interval '303 s'), 'whsec_x');

-- Any bytes are signed as they are.
SELECT momento_billing.verify_signature(b, fixture.sign(b, s), s) AS right,
		momento_billing.verify_signature(b || '\x00', fixture.sign(b, s), s) AS longer,
		momento_billing.verify_signature(substr(b, 2), fixture.sign(b, s), s) AS shorter
	FROM (VALUES ('\x00'::bytea, 'whsec_x'), ('\xff00fe'::bytea, 'é'), (decode(repeat('2e', 1000000), 'hex'), repeat('k', 1000))) AS v (b, s);
ROLLBACK;
